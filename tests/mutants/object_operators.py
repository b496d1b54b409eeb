"""Operators that change tables, grants, views, functions, triggers and keys."""

from collections.abc import Iterator

import expressions
from mutant import Mutant, Subject, names, statement, table
from policy_operators import ALL, READ, WRITES
from psycopg import sql

from tenantfuzz.policies.structure import Function, RelationName, Unique

_WRITTEN = WRITES["insert"] + WRITES["update"] + WRITES["delete"]


def force_dropped(subject: Subject) -> Iterator[Mutant]:
    """The application logs in as the owner of the table, and FORCE goes."""
    for relation in subject.tables():
        owned = statement(
            "ALTER TABLE {t} OWNER TO {r}; REVOKE TRUNCATE ON {t} FROM {r};"
            " ALTER TABLE {t} FORCE ROW LEVEL SECURITY",
            t=table(relation.name),
            r=sql.Identifier(subject.role()),
        )
        dropped = statement("ALTER TABLE {t} NO FORCE ROW LEVEL SECURITY", t=table(relation.name))
        yield Mutant(
            subject.name("force_dropped", relation.name),
            subject.target,
            owned + "\n" + dropped,
            str(relation.name),
            ALL,
            READ + _WRITTEN,
            twin_sql=owned,
        )


def bypass(subject: Subject) -> Iterator[Mutant]:
    """The role is given BYPASSRLS."""
    relation = subject.tables()[0].name
    yield Mutant(
        subject.name("bypass", relation),
        subject.target,
        statement("ALTER ROLE {r} BYPASSRLS", r=sql.Identifier(subject.role())),
        f"{relation.schema}.*",
        ALL,
        READ + _WRITTEN,
    )


def child_granted(subject: Subject) -> Iterator[Mutant]:
    """A partition is granted and has no row security of its own."""
    for name, relation in sorted(subject.catalog.relations.items()):
        if relation.partition_bound is None or not relation.row_security:
            continue
        granted = statement(
            "GRANT SELECT, INSERT ON {t} TO {r}",
            t=table(name),
            r=sql.Identifier(subject.role()),
        )
        off = statement("ALTER TABLE {t} DISABLE ROW LEVEL SECURITY", t=table(name))
        yield Mutant(
            subject.name("child_granted", name),
            subject.target,
            granted + "\n" + off,
            str(name),
            ("select", "insert"),
            ("TF104", "TF201"),
            twin_sql=granted,
        )


def owner_view(subject: Subject) -> Iterator[Mutant]:
    """A view that runs as its owner."""
    for relation in subject.tables():
        view = RelationName(relation.name.schema, f"all_{relation.name.name}")
        template = "CREATE VIEW {v} {o} AS SELECT * FROM {t}; GRANT SELECT ON {v} TO {r}"
        parts = {
            "v": table(view),
            "t": table(relation.name),
            "r": sql.Identifier(subject.role()),
        }
        yield Mutant(
            subject.name("owner_view", relation.name),
            subject.target,
            statement(template, **parts, o=""),
            str(view),
            ("select",),
            ("TF102",),
            twin_sql=statement(template, **parts, o="WITH (security_invoker = true)"),
        )


def materialized_view(subject: Subject) -> Iterator[Mutant]:
    """A materialized view knows no row security."""
    for relation in subject.tables():
        view = RelationName(relation.name.schema, f"kept_{relation.name.name}")
        roles = (subject.role(), subject.model.identity.anonymous)
        made = statement(
            "CREATE MATERIALIZED VIEW {v} AS SELECT * FROM {t}; REVOKE ALL ON {v} FROM PUBLIC, {r}",
            v=table(view),
            t=table(relation.name),
            r=names(tuple(r for r in roles if r is not None)),
        )
        granted = statement(
            "GRANT SELECT ON {v} TO {r}", v=table(view), r=sql.Identifier(subject.role())
        )
        yield Mutant(
            subject.name("materialized_view", relation.name),
            subject.target,
            made + "\n" + granted,
            str(view),
            ("select",),
            ("TF103",),
            twin_sql=made,
        )


def definer_function(subject: Subject) -> Iterator[Mutant]:
    """A function that acts on all rows and runs as its owner."""
    for relation in subject.tables():
        schema = relation.name.schema
        column = next((c.name for c in relation.columns if c.type.base == "text"), None)
        key = relation.primary_key
        if column is None or key is None:
            continue
        count = RelationName(schema, f"list_{relation.name.name}")
        remove = RelationName(schema, f"purge_{relation.name.name}")
        for operator, function, template, codes in (
            ("definer_reads", count,
             "CREATE FUNCTION {f}() RETURNS SETOF {t} LANGUAGE sql STABLE {s} SET search_path = ''"
             " AS $$ SELECT * FROM {t} $$", ("TF105",)),
            ("definer_writes", remove,
             "CREATE FUNCTION {f}(wanted text) RETURNS bigint LANGUAGE sql {s} SET search_path = ''"
             " AS $$ WITH gone AS (DELETE FROM {t} x WHERE x.{k}::text = wanted RETURNING 1)"
             " SELECT count(*) FROM gone $$", ("TF206",)),
        ):  # fmt: skip
            parts = {
                "f": table(function),
                "t": table(relation.name),
                "k": sql.Identifier(key.columns[-1]),
            }
            yield Mutant(
                subject.name(operator, relation.name),
                subject.target,
                statement(template, **parts, s="SECURITY DEFINER"),
                str(function),
                ("call",),
                codes,
                twin_sql=statement(template, **parts, s="SECURITY INVOKER"),
            )


def definer_trigger(subject: Subject) -> Iterator[Mutant]:
    """A trigger that runs as its owner and touches rows of all tenants."""
    for relation in subject.tables():
        tenant = subject.tenant_column(relation.name)
        touched = next((c for c in relation.columns if c.name in ("note", "name", "body")), None)
        if tenant is None or touched is None or relation.name == subject.model.tenants:
            continue
        function = RelationName(relation.name.schema, f"touch_{relation.name.name}")
        template = (
            "CREATE FUNCTION {f}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER"
            " SET search_path = '' AS $$ BEGIN"
            " UPDATE {t} x SET {n} = x.{n} || '.' WHERE x.{n} = NEW.{n} {w};"
            " RETURN NULL; END $$;"
            " CREATE TRIGGER touch AFTER INSERT ON {t} FOR EACH ROW EXECUTE FUNCTION {f}()"
        )
        parts = {
            "f": table(function),
            "t": table(relation.name),
            "n": sql.Identifier(touched.name),
        }
        same = statement("AND x.{c} = NEW.{c}", c=sql.Identifier(tenant))[:-1]
        yield Mutant(
            subject.name("definer_trigger", relation.name),
            subject.target,
            statement(template, **parts, w=""),
            str(relation.name),
            ("insert",),
            ("TF202",),
            twin_sql=statement(template, **parts, w=same),
        )


def membership_self_insert(subject: Subject) -> Iterator[Mutant]:
    """Whoever is signed in makes itself a member."""
    memberships, helper = subject.model.memberships, _user_helper(subject)
    if memberships is None or helper is None:
        return
    template = (
        "GRANT INSERT ON {t} TO {r};"
        " CREATE POLICY joining ON {t} FOR INSERT TO {r} WITH CHECK ({u} = {h}())"
    )
    yield Mutant(
        subject.name("membership_self_insert", memberships.relation),
        subject.target,
        statement(
            template,
            t=table(memberships.relation),
            r=sql.Identifier(subject.role()),
            u=sql.Identifier(memberships.user),
            h=table(helper.name),
        ),
        str(memberships.relation),
        ("insert",),
        ("TF209", "TF201"),
    )


def membership_self_update(subject: Subject) -> Iterator[Mutant]:
    """Whoever is a member changes its own membership: comes back, or raises its role."""
    memberships, helper = subject.model.memberships, _user_helper(subject)
    if memberships is None or helper is None:
        return
    yield Mutant(
        subject.name("membership_self_update", memberships.relation),
        subject.target,
        statement(
            "CREATE POLICY own ON {t} FOR UPDATE TO {r} USING ({u} = {h}())",
            t=table(memberships.relation),
            r=sql.Identifier(subject.role()),
            u=sql.Identifier(memberships.user),
            h=table(helper.name),
        ),
        str(memberships.relation),
        ("update",),
        ("TF209", "TF402"),
    )


def _user_helper(subject: Subject) -> Function | None:
    """A function of no arguments by which policies know the user: ``current_user_id``, say."""
    return next(
        (
            f
            for f in subject.catalog.functions
            if not f.arguments and "user" in f.name.name and f.result in ("text", "uuid", "bigint")
        ),
        None,
    )


def foreign_key_lost_tenant(subject: Subject) -> Iterator[Mutant]:
    """A composite foreign key loses its tenant column."""
    for relation in subject.tables():
        tenant = subject.tenant_column(relation.name)
        for key in relation.foreign_keys:
            if tenant not in key.columns or len(key.columns) != 2 or not key.declared:
                continue
            kept = [(c, t) for c, t in zip(key.columns, key.target_columns, strict=True)
                    if c != tenant]  # fmt: skip
            target = subject.catalog.relations[key.target]
            column, referred = kept[0]
            if not any(_is_on(u, referred) for u in target.uniques):
                continue
            yield Mutant(
                subject.name("foreign_key_lost_tenant", relation.name, key.name),
                subject.target,
                statement(
                    "ALTER TABLE {t} DROP CONSTRAINT {n}; ALTER TABLE {t} ADD CONSTRAINT {n}"
                    " FOREIGN KEY ({c}) REFERENCES {o} ({k})",
                    t=table(relation.name),
                    n=sql.Identifier(key.name),
                    c=sql.Identifier(column),
                    o=table(key.target),
                    k=sql.Identifier(referred),
                ),
                str(relation.name),
                ("insert", "update"),
                ("TF205",),
            )


def _is_on(unique: Unique, column: str) -> bool:
    return unique.columns == (column,) and not unique.expressions and unique.predicate is None


def guard_dropped(subject: Subject) -> Iterator[Mutant]:
    """A trigger that refuses what must not be is dropped."""
    for relation in subject.tables():
        for trigger in relation.triggers:
            if "RAISE EXCEPTION" not in trigger.source:
                continue
            yield Mutant(
                subject.name("guard_dropped", relation.name, trigger.name),
                subject.target,
                statement(
                    "DROP TRIGGER {n} ON {t}",
                    n=sql.Identifier(trigger.name),
                    t=table(relation.name),
                ),
                str(relation.name),
                ("insert", "update"),
                ("TF205",),
            )


def truncate_granted(subject: Subject) -> Iterator[Mutant]:
    """TRUNCATE, which row security does not govern."""
    for relation in subject.tables():
        yield Mutant(
            subject.name("truncate_granted", relation.name),
            subject.target,
            statement(
                "GRANT TRUNCATE ON {t} TO {r}",
                t=table(relation.name),
                r=sql.Identifier(subject.role()),
            ),
            str(relation.name),
            ("delete",),
            ("TF208",),
        )


def unique_lost_tenant(subject: Subject) -> Iterator[Mutant]:
    """A key that was unique within the tenant is made unique among all: it tells what others hold.

    Only keys of one natural column beside the tenant.
    """
    for relation in subject.tables():
        tenant = subject.tenant_column(relation.name)
        for unique in relation.uniques:
            rest = tuple(c for c in unique.columns if c != tenant)
            if tenant not in unique.columns or unique.primary or len(rest) != 1:
                continue
            if unique.expressions or rest == ("id",) or rest[0].endswith("_id"):
                continue
            yield Mutant(
                subject.name("unique_lost_tenant", relation.name, unique.name),
                subject.target,
                statement(
                    "CREATE UNIQUE INDEX told ON {t} ({c})", t=table(relation.name), c=names(rest)
                ),
                str(relation.name),
                ("insert", "update"),
                ("TF301",),
            )


def function_lost_conjunct(subject: Subject) -> Iterator[Mutant]:
    """One condition less in the body of a helper that policies use; numbered from 1.

    The server writes the definition, so that all else about the function stays.
    """
    used = " ".join(
        text or "" for r in subject.tables() for p in r.policies for text in (p.using, p.check)
    )
    bodies = used + " ".join(f.source for f in subject.catalog.functions)
    for function in subject.catalog.functions:
        if function.language != "sql" or f"{function.name}(" not in bodies:
            continue
        for number, (lost, edited) in enumerate(expressions.without_conjuncts(function.source), 1):
            body = statement(
                "BEGIN EXECUTE replace((SELECT pg_get_functiondef(p.oid) FROM pg_proc p"
                " WHERE p.pronamespace = {n}::regnamespace AND p.proname = {f}"
                " AND pg_get_function_identity_arguments(p.oid) = {a}), {old}, {new}); END",
                n=sql.Literal(function.name.schema),
                f=sql.Literal(function.name.name),
                a=sql.Literal(function.arguments),
                old=sql.Literal(function.source),
                new=sql.Literal(edited),
            )
            yield Mutant(
                subject.name("function_lost_conjunct", function.name, str(number)),
                subject.target,
                statement("DO {body}", body=sql.Literal(body)),
                f"{subject.tables()[0].name.schema}.*",
                ALL,
                READ + _WRITTEN,
                note=f"without {lost}",
            )


OBJECT_OPERATORS = (
    force_dropped,
    bypass,
    child_granted,
    owner_view,
    materialized_view,
    definer_function,
    definer_trigger,
    membership_self_insert,
    membership_self_update,
    foreign_key_lost_tenant,
    guard_dropped,
    truncate_granted,
    unique_lost_tenant,
    function_lost_conjunct,
)
