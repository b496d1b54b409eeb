"""Operators that change policies, or whether policies are in force."""

from collections.abc import Iterator
from dataclasses import replace

import expressions
from mutant import Mutant, Subject, grantees, statement, table
from psycopg import sql

from tenantfuzz.policies.structure import Check, Policy, Relation

READ = ("TF101",)
WRITES = {"insert": ("TF201",), "update": ("TF202", "TF204"), "delete": ("TF203",)}
ALL = ("select", "insert", "update", "delete")


def _operations(policy: Policy, *, check: bool = False) -> tuple[str, ...]:
    if policy.command != "all":
        return (policy.command,)
    return ("insert", "update") if check else ALL


def _codes(operations: tuple[str, ...]) -> tuple[str, ...]:
    codes: tuple[str, ...] = ()
    for operation in operations:
        codes += WRITES.get(operation, READ)
    return codes


def _policies(subject: Subject) -> Iterator[tuple[Relation, Policy]]:
    for relation in subject.tables():
        for policy in relation.policies:
            if policy.permissive:
                yield relation, policy


def _altered(
    subject: Subject,
    operator: str,
    relation: Relation,
    policy: Policy,
    *parts: str,
    using: str | None = None,
    check: str | None = None,
    note: str = "",
) -> Mutant:
    clauses = []
    if using is not None:
        clauses.append(statement("USING ({e})", e=using)[:-1])
    if check is not None:
        clauses.append(statement("WITH CHECK ({e})", e=check)[:-1])
    operations = _operations(policy, check=using is None)
    return Mutant(
        name=subject.name(operator, relation.name, policy.name, *parts),
        target=subject.target,
        sql=statement(
            "ALTER POLICY {p} ON {t} {c}",
            p=sql.Identifier(policy.name),
            t=table(relation.name),
            c=" ".join(clauses).replace("{", "{{").replace("}", "}}"),
        ),
        relation=str(relation.name),
        operations=operations,
        codes=_codes(operations),
        note=note,
    )


def row_security_off(subject: Subject) -> Iterator[Mutant]:
    """A table that was forgotten."""
    for relation in subject.tables():
        yield Mutant(
            subject.name("row_security_off", relation.name),
            subject.target,
            statement("ALTER TABLE {t} DISABLE ROW LEVEL SECURITY", t=table(relation.name)),
            str(relation.name),
            ALL,
            _codes(ALL),
        )


def using_true(subject: Subject) -> Iterator[Mutant]:
    """USING (true), for a policy that also says what may be written: that stays as it is."""
    for relation, policy in _policies(subject):
        if policy.using is not None:
            check = policy.check or policy.using if policy.command in ("all", "update") else None
            yield _altered(subject, "using_true", relation, policy, using="true", check=check)


def policy_true(subject: Subject) -> Iterator[Mutant]:
    """USING (true) WITH CHECK (true)."""
    for relation, policy in _policies(subject):
        if policy.command == "all":
            yield _altered(subject, "policy_true", relation, policy, using="true", check="true")


def check_true(subject: Subject) -> Iterator[Mutant]:
    """What is written is not checked any more."""
    for relation, policy in _policies(subject):
        if policy.command in ("all", "insert", "update"):
            yield _altered(subject, "check_true", relation, policy, check="true")


def check_not_null(subject: Subject) -> Iterator[Mutant]:
    """The check asks only that there is an owner."""
    for relation, policy in _policies(subject):
        column = subject.tenant_column(relation.name)
        if column is not None and policy.command in ("all", "insert", "update"):
            check = statement("{c} IS NOT NULL", c=sql.Identifier(column))[:-1]
            yield _altered(subject, "check_not_null", relation, policy, check=check)


def lost_conjunct(subject: Subject) -> Iterator[Mutant]:
    """One condition less, in USING or in WITH CHECK; numbered from 1."""
    for relation, policy in _policies(subject):
        using, check = policy.using, policy.check
        if using is not None:
            kept = check or using if policy.command in ("all", "update") else None
            for number, (lost, edited) in enumerate(expressions.without_conjuncts(using), 1):
                yield _altered(
                    subject, "lost_conjunct", relation, policy, "using", str(number),
                    using=edited, check=kept, note=f"without {lost}",
                )  # fmt: skip
        if check is not None:
            for number, (lost, edited) in enumerate(expressions.without_conjuncts(check), 1):
                yield _altered(
                    subject, "lost_conjunct", relation, policy, "check", str(number),
                    check=edited, note=f"without {lost}",
                )  # fmt: skip
        if using is not None and check is not None and using == check:
            for number, (lost, edited) in enumerate(expressions.without_conjuncts(using), 1):
                yield _altered(
                    subject, "lost_conjunct", relation, policy, "both", str(number),
                    using=edited, check=edited, note=f"without {lost}",
                )  # fmt: skip


def owner_only_check(subject: Subject) -> Iterator[Mutant]:
    """The check says whose row it is, not where: conditions on the tenant are left out."""
    for relation, policy in _policies(subject):
        column = subject.tenant_column(relation.name)
        users = {c for fk in relation.foreign_keys for c in fk.columns} - {column}
        if column is None or policy.check is None:
            continue
        check = expressions.keeping(
            policy.check,
            lambda text, users=users: bool(expressions.columns(text) & users) and "=" in text,  # type: ignore[misc]
        )
        if check not in ("true", policy.check, f"({policy.check})"):
            yield _altered(subject, "owner_only_check", relation, policy, check=check)


def and_to_or(subject: Subject) -> Iterator[Mutant]:
    """AND becomes OR in USING; what may be written stays."""
    for relation, policy in _policies(subject):
        edited = expressions.and_to_or(policy.using) if policy.using else None
        if edited is not None:
            check = policy.check or policy.using if policy.command in ("all", "update") else None
            yield _altered(subject, "and_to_or", relation, policy, using=edited, check=check)


def wrong_column(subject: Subject) -> Iterator[Mutant]:
    """The tenant is compared with the row's own key."""
    for relation, policy in _policies(subject):
        column = subject.tenant_column(relation.name)
        key = relation.column("id")
        if column in (None, "id") or key is None or policy.using is None:
            continue
        edited = expressions.with_other_column(policy.using, str(column), "id")
        if edited is not None:
            yield _altered(subject, "wrong_column", relation, policy, using=edited, check=None)


def unverified_setting(subject: Subject) -> Iterator[Mutant]:
    """A helper that verifies a setting is replaced by the setting itself."""
    for function in subject.catalog.functions:
        if function.arguments or function.language != "sql" or function.result != "text":
            continue
        found = expressions.settings(function.source)
        if len(found) != 1:
            continue
        call = f"{function.name}()"
        raw = statement("current_setting({s}, true)", s=sql.Literal(found[0]))[:-1]
        for relation, policy in _policies(subject):
            if policy.using is not None and call in policy.using:
                yield _altered(
                    subject, "unverified_setting", relation, policy, function.name.name,
                    using=policy.using.replace(call, raw),
                    check=policy.check.replace(call, raw) if policy.check else None,
                )  # fmt: skip


def setting_open(subject: Subject) -> Iterator[Mutant]:
    """Whoever has no tenant, because the setting is unset or empty, sees all."""
    for relation, policy in _policies(subject):
        for setting in expressions.settings(policy.using) if policy.using else ():
            for how, opened in (
                ("unset", "current_setting({s}, true) IS NULL"),
                ("empty", "current_setting({s}, true) = ''"),
                ("either", "coalesce(current_setting({s}, true), '') = ''"),
            ):
                extra = statement(opened, s=sql.Literal(setting))[:-1]
                yield _altered(
                    subject, "setting_open", relation, policy, how,
                    using=f"{policy.using} OR {extra}", check=policy.check or policy.using,
                )  # fmt: skip


def user_claim(subject: Subject) -> Iterator[Mutant]:
    """The tenant is also taken from the claims that users write themselves, under the name of the
    column or under one that stands in the policy alone."""
    claims = "request.jwt.claims"
    if not subject.model.identity.user_claims or claims not in subject.model.identity.settings:
        return
    for relation, policy in _policies(subject):
        column = subject.tenant_column(relation.name)
        if column is None or policy.command != "select" or policy.using is None:
            continue
        for key in (column, "home_base"):
            extra = statement(
                "{c} = (nullif(current_setting({s}, true), '')::jsonb -> 'user_metadata' ->> {k})",
                c=sql.Identifier(column),
                s=sql.Literal(claims),
                k=sql.Literal(key),
            )[:-1]
            made = _altered(
                subject, "user_claim", relation, policy, key, using=f"{policy.using} OR {extra}"
            )
            yield replace(made, codes=("TF109", "TF101"))


def null_owner_open(subject: Subject) -> Iterator[Mutant]:
    """Rows of no tenant are open to all."""
    for relation, policy in _policies(subject):
        column = subject.tenant_column(relation.name)
        found = relation.column(column) if column else None
        if found is None or found.not_null or policy.using is None:
            continue
        extra = statement("{c} IS NULL", c=sql.Identifier(found.name))[:-1]
        yield _altered(
            subject, "null_owner_open", relation, policy,
            using=f"{policy.using} OR {extra}",
            check=policy.check or policy.using if policy.command in ("all", "update") else None,
        )  # fmt: skip


def command_widened(subject: Subject) -> Iterator[Mutant]:
    """A policy for SELECT is made one for ALL."""
    for relation, policy in _policies(subject):
        if policy.command != "select" or policy.using is None:
            continue
        yield Mutant(
            subject.name("command_widened", relation.name, policy.name),
            subject.target,
            statement(
                "DROP POLICY {p} ON {t}; CREATE POLICY {p} ON {t} FOR ALL TO {r} USING ({e})",
                p=sql.Identifier(policy.name),
                t=table(relation.name),
                r=grantees(policy.roles),
                e=policy.using,
            ),
            str(relation.name),
            ("insert", "update", "delete"),
            _codes(("insert", "update", "delete")),
        )


def permissive_added(subject: Subject) -> Iterator[Mutant]:
    """A second policy for rows in a certain state, of whatever tenant: policies are ORed."""
    for relation in subject.tables():
        for column, value in _listed(relation):
            yield _added(subject, "permissive_added", relation, column, value)


def guessed_literal(subject: Subject) -> Iterator[Mutant]:
    """The same for a value that stands nowhere but in the policy."""
    for relation in subject.tables():
        known = {c for check in relation.checks for c in check.columns}
        keys = {c for u in relation.uniques for c in u.columns}
        bound = {c for fk in relation.foreign_keys for c in fk.columns}
        for column in relation.columns:
            if column.type.base == "text" and column.name not in known | keys | bound:
                yield _added(
                    subject, "guessed_literal", relation, column.name, "shared-with-partners-7f3"
                )


def _listed(relation: Relation) -> Iterator[tuple[str, str]]:
    for check in relation.checks:
        if len(check.columns) == 1 and (values := _values(check)):
            yield check.columns[0], values[-1]


def _values(check: Check) -> list[str]:
    parts = check.expression.split("'")
    return parts[1::2] if "ANY" in check.expression else []


def _added(subject: Subject, operator: str, relation: Relation, column: str, value: str) -> Mutant:
    return Mutant(
        subject.name(operator, relation.name, column),
        subject.target,
        statement(
            "CREATE POLICY added ON {t} FOR SELECT TO {r} USING ({c} = {v})",
            t=table(relation.name),
            r=sql.Identifier(subject.role()),
            c=sql.Identifier(column),
            v=sql.Literal(value),
        ),
        str(relation.name),
        ("select",),
        READ,
    )


def restrictive_dropped(subject: Subject) -> Iterator[Mutant]:
    """The tenant is held by a restrictive policy over an open one; then it is dropped."""
    for relation, policy in _policies(subject):
        if policy.using is None or policy.command != "all":
            continue
        split = statement(
            "ALTER POLICY {p} ON {t} USING (true) WITH CHECK (true);"
            " CREATE POLICY held ON {t} AS RESTRICTIVE TO PUBLIC USING ({e})",
            p=sql.Identifier(policy.name),
            t=table(relation.name),
            e=policy.using,
        )
        for operator, after in (
            ("restrictive_dropped", "DROP POLICY held ON {t}"),
            ("restrictive_made_permissive",
             "DROP POLICY held ON {t}; CREATE POLICY held ON {t} USING ({e})"),
            ("restrictive_for_select_only",
             "DROP POLICY held ON {t};"
             " CREATE POLICY held ON {t} AS RESTRICTIVE FOR SELECT USING ({e})"),
        ):  # fmt: skip
            yield Mutant(
                subject.name(operator, relation.name, policy.name),
                subject.target,
                split + "\n" + statement(after, t=table(relation.name), e=policy.using),
                str(relation.name),
                ALL,
                _codes(ALL),
                twin_sql=split,
            )


def role_widened(subject: Subject) -> Iterator[Mutant]:
    """A policy for the operator's own role is given to everybody."""
    for relation in subject.tables():
        parts = {"t": table(relation.name)}
        template = "CREATE POLICY back_office ON {t} FOR SELECT TO {r} USING (true)"
        yield Mutant(
            subject.name("role_widened", relation.name),
            subject.target,
            statement(template, **parts, r="PUBLIC"),
            str(relation.name),
            ("select",),
            READ,
            twin_sql=statement(template, **parts, r="CURRENT_USER"),
        )


POLICY_OPERATORS = (
    row_security_off,
    using_true,
    policy_true,
    check_true,
    check_not_null,
    lost_conjunct,
    owner_only_check,
    and_to_or,
    wrong_column,
    unverified_setting,
    setting_open,
    user_claim,
    null_owner_open,
    command_widened,
    permissive_added,
    guessed_literal,
    restrictive_dropped,
    role_widened,
)
