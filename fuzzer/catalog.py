"""Reads the structure of a database: the live catalog is the only source, never the schema text."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import psycopg
from psycopg.rows import dict_row

from tenantfuzz.column_types import TypeReader
from tenantfuzz.policies.structure import (
    Catalog,
    Check,
    Column,
    Exclusion,
    ForeignKey,
    Function,
    Grant,
    Policy,
    Privilege,
    Relation,
    RelationKind,
    RelationName,
    Role,
    Trigger,
    Unique,
)

Record = Mapping[str, Any]  # a catalog row: its columns are of many types

_KINDS = {
    "r": RelationKind.TABLE,
    "p": RelationKind.PARTITIONED,
    "v": RelationKind.VIEW,
    "m": RelationKind.MATERIALIZED_VIEW,
    "f": RelationKind.FOREIGN,
}
_COMMANDS = {"*": "all", "r": "select", "a": "insert", "w": "update", "d": "delete"}
_ACTIONS = {
    "a": "no action",
    "r": "restrict",
    "c": "cascade",
    "n": "set null",
    "d": "set default",
}
_GENERATED = {"": "", "s": "stored", "v": "virtual"}
_IDENTITY = {"": "", "a": "always", "d": "by default"}

_SYSTEM = "('pg_catalog', 'information_schema', 'pg_toast')"

# Relations of the target: no system schema, nothing that an extension owns, no temporary ones.
_RELATIONS = f"""
SELECT c.oid, n.nspname AS schema, c.relname AS name, c.relkind::text AS kind,
       pg_get_userbyid(c.relowner) AS owner, c.relrowsecurity AS rls,
       c.relforcerowsecurity AS force,
       CASE WHEN c.relkind IN ('v', 'm') THEN pg_get_viewdef(c.oid) END AS definition,
       coalesce(c.reloptions::text ~ 'security_invoker=(true|on|1|yes)', false) AS invoker,
       pg_get_expr(c.relpartbound, c.oid) AS bound,
       (SELECT pn.nspname FROM pg_inherits i JOIN pg_class p ON p.oid = i.inhparent
          JOIN pg_namespace pn ON pn.oid = p.relnamespace WHERE i.inhrelid = c.oid
          ORDER BY i.inhseqno LIMIT 1) AS parent_schema,
       (SELECT p.relname FROM pg_inherits i JOIN pg_class p ON p.oid = i.inhparent
          WHERE i.inhrelid = c.oid ORDER BY i.inhseqno LIMIT 1) AS parent_name,
       (SELECT array_agg(a.attname ORDER BY k.ord) FROM pg_partitioned_table pt,
          unnest(pt.partattrs::int2[]) WITH ORDINALITY AS k(num, ord)
          JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.num
          WHERE pt.partrelid = c.oid) AS partition_key,
       (SELECT array_agg(r.rulename::text) FROM pg_rewrite r
          WHERE r.ev_class = c.oid AND r.rulename <> '_RETURN') AS rules
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relpersistence <> 't'
  AND n.nspname NOT IN {_SYSTEM} AND n.nspname !~ '^pg_(temp|toast)'
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
                  AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY n.nspname, c.relname
"""

_COLUMNS = """
SELECT a.attrelid, a.attname AS name, a.attnum AS number, a.atttypid AS type, a.atttypmod AS mod,
       a.attnotnull AS not_null, pg_get_expr(d.adbin, d.adrelid) AS default,
       a.attgenerated::text AS generated, a.attidentity::text AS identity
FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = ANY(%s) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attrelid, a.attnum
"""

_INDEXES = """
SELECT i.indrelid, c.relname AS name, i.indisprimary AS primary, i.indkey::int2[] AS keys,
       i.indnkeyatts AS n, pg_get_expr(i.indpred, i.indrelid) AS predicate,
       coalesce((to_jsonb(i) ->> 'indnullsnotdistinct')::boolean, false) AS nulls_not_distinct,
       NOT i.indimmediate AS deferrable,
       (SELECT array_agg(pg_get_indexdef(i.indexrelid, k, true) ORDER BY k)
          FROM generate_series(1, i.indnkeyatts) k WHERE i.indkey[k - 1] = 0) AS expressions,
       (SELECT array_agg(DISTINCT d.refobjsubid::int) FROM pg_depend d
          WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid
            AND d.refobjid = i.indrelid AND d.refobjsubid > 0) AS reads
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE i.indisunique AND i.indrelid = ANY(%s) ORDER BY c.relname
"""

_CONSTRAINTS = """
SELECT conrelid, conname AS name, contype::text AS type, conkey::int2[] AS keys,
       confrelid, confkey::int2[] AS targets, condeferrable AS deferrable,
       confdeltype::text AS on_delete, confupdtype::text AS on_update,
       confmatchtype = 'f' AS match_full,
       CASE WHEN contype = 'c' THEN pg_get_expr(conbin, conrelid) END AS expression,
       pg_get_constraintdef(oid) AS definition
FROM pg_constraint WHERE conrelid = ANY(%s) AND contype IN ('f', 'c', 'x') AND conparentid = 0
ORDER BY conname
"""

_POLICIES = """
SELECT polrelid, polname AS name, polcmd::text AS command, polpermissive AS permissive,
       ARRAY(SELECT rolname::text FROM pg_roles WHERE oid = ANY(polroles)) AS roles,
       pg_get_expr(polqual, polrelid) AS using, pg_get_expr(polwithcheck, polrelid) AS check
FROM pg_policy WHERE polrelid = ANY(%s) ORDER BY polname
"""

_TRIGGERS = """
SELECT t.tgrelid, t.tgname AS name, t.tgtype AS type, n.nspname AS fschema, p.proname AS fname,
       p.prosecdef AS definer,
       CASE WHEN l.lanname IN ('c', 'internal') THEN '' ELSE p.prosrc END AS source
FROM pg_trigger t JOIN pg_proc p ON p.oid = t.tgfoid JOIN pg_namespace n ON n.oid = p.pronamespace
JOIN pg_language l ON l.oid = p.prolang
WHERE NOT t.tgisinternal AND t.tgenabled IN ('O', 'A') AND t.tgrelid = ANY(%s) ORDER BY t.tgname
"""

_ROLES = """
WITH RECURSIVE direct AS (
  SELECT m.member, m.roleid,
         coalesce((to_jsonb(m) ->> 'inherit_option')::boolean, u.rolinherit) AS inherits
  FROM pg_auth_members m JOIN pg_roles u ON u.oid = m.member),
reach AS (
  SELECT member, roleid, inherits FROM direct
  UNION SELECT r.member, d.roleid, r.inherits AND d.inherits FROM reach r
    JOIN direct d ON d.member = r.roleid)
SELECT r.rolname AS name, r.rolsuper AS superuser, r.rolbypassrls AS bypass, r.rolcanlogin AS login,
       r.rolinherit AS inherit,
       ARRAY(SELECT DISTINCT g.rolname::text FROM reach JOIN pg_roles g ON g.oid = reach.roleid
             WHERE reach.member = r.oid) AS member_of,
       ARRAY(SELECT DISTINCT g.rolname::text FROM reach JOIN pg_roles g ON g.oid = reach.roleid
             WHERE reach.member = r.oid AND reach.inherits) AS inherits_from,
       ARRAY(SELECT unnest(s.setconfig) FROM pg_db_role_setting s
             LEFT JOIN pg_database b ON b.oid = s.setdatabase
             WHERE (s.setrole = r.oid OR s.setrole = 0)
               AND (s.setdatabase = 0 OR b.datname = current_database())
             ORDER BY s.setrole, s.setdatabase) AS settings
FROM pg_roles r WHERE r.rolname !~ '^pg_' ORDER BY r.rolname
"""

_TABLE_GRANTS = """
SELECT r.rolname AS role, c.oid, p.privilege
FROM pg_roles r CROSS JOIN pg_class c
CROSS JOIN (VALUES ('select'), ('insert'), ('update'), ('delete'), ('truncate')) AS p(privilege)
WHERE r.rolname = ANY(%s) AND c.oid = ANY(%s)
  AND has_schema_privilege(r.oid, c.relnamespace, 'USAGE')
  AND has_table_privilege(r.oid, c.oid, p.privilege)
"""

# Only where a column has an ACL of its own can it differ from its table.
_COLUMN_GRANTS = """
SELECT r.rolname AS role, a.attrelid AS oid, a.attname AS column, p.privilege
FROM pg_roles r CROSS JOIN pg_attribute a
JOIN pg_class c ON c.oid = a.attrelid
CROSS JOIN (VALUES ('select'), ('insert'), ('update')) AS p(privilege)
WHERE r.rolname = ANY(%s) AND a.attrelid = ANY(%s) AND a.attacl IS NOT NULL
  AND a.attnum > 0 AND NOT a.attisdropped
  AND has_schema_privilege(r.oid, c.relnamespace, 'USAGE')
  AND has_column_privilege(r.oid, a.attrelid, a.attnum, p.privilege)
"""

_FUNCTIONS = f"""
SELECT p.oid, n.nspname AS schema, p.proname AS name,
       pg_get_function_identity_arguments(p.oid) AS arguments,
       coalesce(pg_get_function_result(p.oid), '') AS result, l.lanname AS language,
       p.prosecdef AS definer, p.provolatile = 'v' AS volatile,
       pg_get_userbyid(p.proowner) AS owner,
       CASE WHEN l.lanname IN ('c', 'internal') THEN ''
            WHEN p.prosqlbody IS NOT NULL THEN pg_get_functiondef(p.oid)
            ELSE p.prosrc END AS source,
       p.prokind = 'p' AS procedure,
       ARRAY(SELECT r.rolname::text FROM pg_roles r WHERE r.rolname = ANY(%s)
             AND has_function_privilege(r.oid, p.oid, 'EXECUTE')
             AND has_schema_privilege(r.oid, n.oid, 'USAGE')) AS executable_by
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_language l ON l.oid = p.prolang
WHERE n.nspname NOT IN {_SYSTEM} AND n.nspname !~ '^pg_temp' AND p.prokind IN ('f', 'p')
  AND p.prorettype <> ALL ('{{trigger, event_trigger}}'::regtype[])
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass
                  AND d.objid = p.oid AND d.deptype = 'e')
ORDER BY n.nspname, p.proname, p.oid
"""


def read_catalog(connection: psycopg.Connection[Any]) -> Catalog:
    """Reads everything the model and the generators need, in one snapshot.

    The connection needs no more than CONNECT and catalog rights. Works on PostgreSQL 13 to 18
    (virtual generated columns since 18, NULLS NOT DISTINCT since 15).
    """
    with connection.cursor(row_factory=dict_row) as cursor:

        def rows(query: str, *parameters: object) -> list[dict[str, Any]]:
            text = query.replace("p.prosqlbody IS NOT NULL", "false") if version < 140000 else query
            return cursor.execute(text.encode(), parameters or None).fetchall()

        version = connection.info.server_version
        records = rows(_RELATIONS)
        oids = [r["oid"] for r in records]
        roles = {r["name"]: _role(r) for r in rows(_ROLES)}
        names = [n for n, r in roles.items() if not r.superuser]
        by_oid = {r["oid"]: RelationName(r["schema"], r["name"]) for r in records}
        types = TypeReader(cursor)
        columns = {
            oid: tuple(_column(c, types) for c in group)
            for oid, group in _grouped(rows(_COLUMNS, oids), "attrelid").items()
        }
        parts = _Parts(
            by_oid=by_oid,
            columns=columns,
            indexes=_grouped(rows(_INDEXES, oids), "indrelid"),
            constraints=_grouped(rows(_CONSTRAINTS, oids), "conrelid"),
            policies=_grouped(rows(_POLICIES, oids), "polrelid"),
            triggers=_grouped(rows(_TRIGGERS, oids), "tgrelid"),
        )
        relations = {by_oid[r["oid"]]: parts.relation(r) for r in records}
        grants = _grants(
            relations,
            by_oid,
            rows(_TABLE_GRANTS, names, oids),
            rows(_COLUMN_GRANTS, names, oids),
        )
        functions = tuple(_function(f) for f in rows(_FUNCTIONS, names))
        extensions = tuple(r["extname"] for r in rows("SELECT extname FROM pg_extension"))
        path = rows("SELECT current_schemas(false)::text[] AS path")[0]["path"]
    return Catalog(
        relations=relations,
        roles=roles,
        grants=grants,
        functions=functions,
        server_version=version,
        extensions=extensions,
        search_path=tuple(path),
    )


def _grouped(records: Iterable[dict[str, Any]], key: str) -> dict[int, list[dict[str, Any]]]:
    groups: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for record in records:
        groups[record[key]].append(record)
    return groups


def _column(record: Record, types: TypeReader) -> Column:
    generated = _GENERATED[record["generated"]]
    return Column(
        name=record["name"],
        number=record["number"],
        type=types.read(record["type"], record["mod"]),
        not_null=record["not_null"],
        default=record["default"],
        generated=generated,
        identity=_IDENTITY[record["identity"]],
    )


def _role(record: Record) -> Role:
    settings = tuple(tuple(s.split("=", 1)) for s in record["settings"] or ())
    return Role(
        name=record["name"],
        superuser=record["superuser"],
        bypass_row_security=record["bypass"],
        login=record["login"],
        inherit=record["inherit"],
        member_of=frozenset(record["member_of"]) - {record["name"]},
        inherits_from=frozenset(record["inherits_from"]) - {record["name"]},
        settings=tuple((s[0], s[1]) for s in settings),
    )


def _function(record: Record) -> Function:
    return Function(
        name=RelationName(record["schema"], record["name"]),
        oid=record["oid"],
        arguments=record["arguments"],
        result=record["result"],
        language=record["language"],
        definer=record["definer"],
        volatile=record["volatile"],
        owner=record["owner"],
        source=record["source"],
        procedure=record["procedure"],
        executable_by=frozenset(record["executable_by"]),
    )


class _Parts:
    """The records of all relations, assembled one relation at a time."""

    def __init__(
        self,
        *,
        by_oid: Mapping[int, RelationName],
        columns: Mapping[int, tuple[Column, ...]],
        indexes: Mapping[int, list[dict[str, Any]]],
        constraints: Mapping[int, list[dict[str, Any]]],
        policies: Mapping[int, list[dict[str, Any]]],
        triggers: Mapping[int, list[dict[str, Any]]],
    ) -> None:
        self._by_oid = by_oid
        self._columns = columns
        self._indexes = indexes
        self._constraints = constraints
        self._policies = policies
        self._triggers = triggers

    def relation(self, record: Record) -> Relation:
        oid = record["oid"]
        names = {c.number: c.name for c in self._columns.get(oid, ())}
        constraints = self._constraints.get(oid, [])
        parent = record["parent_name"]
        return Relation(
            name=self._by_oid[oid],
            oid=oid,
            kind=_KINDS[record["kind"]],
            owner=record["owner"],
            columns=self._columns.get(oid, ()),
            row_security=record["rls"],
            force_row_security=record["force"],
            uniques=tuple(_unique(i, names) for i in self._indexes.get(oid, [])),
            foreign_keys=tuple(
                self._foreign_key(c, names)
                for c in constraints
                if c["type"] == "f" and c["confrelid"] in self._by_oid
            ),
            checks=tuple(
                Check(c["name"], c["expression"], tuple(names[k] for k in c["keys"] or () if k > 0))
                for c in constraints
                if c["type"] == "c"
            ),
            exclusions=tuple(
                Exclusion(c["name"], tuple(names[k] for k in c["keys"] if k > 0), c["definition"])
                for c in constraints
                if c["type"] == "x"
            ),
            policies=tuple(
                Policy(
                    name=p["name"],
                    command=_COMMANDS[p["command"]],
                    permissive=p["permissive"],
                    roles=tuple(p["roles"]),
                    using=p["using"],
                    check=p["check"],
                )
                for p in self._policies.get(oid, [])
            ),
            triggers=tuple(_trigger(t) for t in self._triggers.get(oid, [])),
            rules=tuple(record["rules"] or ()),
            parent=RelationName(record["parent_schema"], parent) if parent else None,
            partition_bound=record["bound"],
            partition_key=tuple(record["partition_key"] or ()),
            definition=record["definition"],
            security_invoker=record["invoker"],
        )

    def _foreign_key(self, record: Record, names: Mapping[int, str]) -> ForeignKey:
        target_names = {c.number: c.name for c in self._columns[record["confrelid"]]}
        return ForeignKey(
            name=record["name"],
            columns=tuple(names[k] for k in record["keys"]),
            target=self._by_oid[record["confrelid"]],
            target_columns=tuple(target_names[k] for k in record["targets"]),
            deferrable=record["deferrable"],
            on_delete=_ACTIONS[record["on_delete"]],
            on_update=_ACTIONS[record["on_update"]],
            match_full=record["match_full"],
        )


def _unique(record: Record, names: Mapping[int, str]) -> Unique:
    keys = [k for k in record["keys"][: record["n"]] if k > 0]
    predicate_only = set(record["reads"] or ()) - set(keys)
    expressions = tuple(record["expressions"] or ())
    return Unique(
        name=record["name"],
        columns=tuple(names[k] for k in keys),
        primary=record["primary"],
        expressions=expressions,
        expression_columns=tuple(
            names[k]
            for k in sorted(predicate_only)
            if any(re.search(rf"\b{re.escape(names[k])}\b", e) for e in expressions)
        ),
        predicate=record["predicate"],
        nulls_not_distinct=record["nulls_not_distinct"],
        deferrable=record["deferrable"],
    )


def _trigger(record: Record) -> Trigger:
    bits = record["type"]  # pg_trigger.h: 1 row, 2 before, 4 insert, 8 delete, 16 update, 32, 64
    events = ((4, "insert"), (8, "delete"), (16, "update"), (32, "truncate"))
    return Trigger(
        name=record["name"],
        timing="before" if bits & 2 else "instead of" if bits & 64 else "after",
        events=tuple(word for bit, word in events if bits & bit),
        per_row=bool(bits & 1),
        function=RelationName(record["fschema"], record["fname"]),
        definer=record["definer"],
        source=record["source"],
    )


def _grants(
    relations: Mapping[RelationName, Relation],
    by_oid: Mapping[int, RelationName],
    on_tables: list[dict[str, Any]],
    on_columns: list[dict[str, Any]],
) -> dict[tuple[str, RelationName], Grant]:
    tables: dict[tuple[str, RelationName], set[Privilege]] = defaultdict(set)
    columns: dict[tuple[str, RelationName], dict[Privilege, set[str]]] = defaultdict(dict)
    for record in on_tables:
        key = (record["role"], by_oid[record["oid"]])
        privilege = Privilege(record["privilege"])
        tables[key].add(privilege)
        if privilege in (Privilege.SELECT, Privilege.INSERT, Privilege.UPDATE):
            columns[key][privilege] = {c.name for c in relations[key[1]].columns}
    for record in on_columns:
        key = (record["role"], by_oid[record["oid"]])
        columns[key].setdefault(Privilege(record["privilege"]), set()).add(record["column"])
    return {
        key: Grant(
            frozenset(tables.get(key, ())),
            {p: frozenset(c) for p, c in columns.get(key, {}).items()},
        )
        for key in tables.keys() | columns.keys()
    }
