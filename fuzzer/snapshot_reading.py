"""Reads a snapshot: what each relation is, and what its verdict rests on.

Dependencies come from ``pg_depend`` where the server keeps them (policies, views, constraints,
triggers' functions, SQL-standard bodies), and from the words of a function's body where it is mere
text. Every doubt makes a dependency: what is named by chance is tested once too often.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Set
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from tenantfuzz import __version__
from tenantfuzz import snapshot_queries as queries
from tenantfuzz.policies.model import Model
from tenantfuzz.policies.structure import Relation, RelationKind, RelationName
from tenantfuzz.preparation import Prepared, connect
from tenantfuzz.snapshot import ANYTHING, Node, Part, Snapshot, digest

_WORD = re.compile(r"[^\W\d][\w$]*")
_PUT_TOGETHER = re.compile(
    r"\b(?:execute|dblink\w*|query_to_\w+|cursor_to_\w+|table_to_\w+|schema_to_\w+|ts_stat)\b",
    re.IGNORECASE,
)
_WRITING = re.compile(r"\b(?:insert|update|delete|merge|truncate|copy)\b", re.IGNORECASE)
_READABLE = frozenset({"sql", "plpgsql"})  # languages whose bodies name what they use
_HARMLESS = frozenset({"internal"})  # another name for a function of the server's own

_ALL = (Part.DEFINITION, Part.ACCESS, Part.TRIGGERS, Part.WRITES)
_READ = (Part.DEFINITION, Part.ACCESS)

_Record = Mapping[str, Any]  # a catalog row: its columns are of many types
Ask = Callable[..., list[dict[str, Any]]]  # as above


def read_snapshot(prepared: Prepared, *, strict: bool = False) -> Snapshot:
    """The snapshot of a target that is ready. Raises ToolError where the server does not answer."""
    with connect(prepared.server, prepared.database) as connection:
        reader = _Reader(
            {
                r.name
                for r in prepared.catalog.roles.values()
                if r.superuser or r.bypass_row_security
            }
        )
        with connection.transaction(), connection.cursor(row_factory=dict_row) as cursor:

            def ask(query: str, *parameters: object) -> list[dict[str, Any]]:
                return cursor.execute(query.encode(), parameters or None).fetchall()

            context = {
                name: digest(*(tuple(map(str, row.values())) for row in ask(query)))
                for name, query in queries.CONTEXT.items()
            }
            # Names in definitions are to be qualified, whatever the path finds.
            ask("SELECT set_config('search_path', 'pg_catalog', true)")
            reader.read(ask)
        reader.rows(connection, prepared.catalog.relations.values())
    reader.model(prepared.model)
    tested = {str(name): f"relation {name}" for name in prepared.catalog.relations}
    return Snapshot(
        target=prepared.target.name,
        context=context | _context(prepared, strict=strict),
        objects={key: dict(parts) for key, parts in reader.objects.items()},
        depends={
            name: frozenset(str(n) for n in reader.reach(key)) for name, key in tested.items()
        },
        openers={name: reader.openers(key) & tested.keys() for name, key in tested.items()},
    )


def _context(prepared: Prepared, *, strict: bool) -> dict[str, str]:
    """What everything depends on besides the catalog: the tool, the server, the model."""
    configuration, model = prepared.configuration, prepared.model
    said = (
        configuration.tenancy,
        configuration.identity,
        configuration.principals,
        configuration.access,
        configuration.values,
        configuration.audit,
    )
    roles = sorted(prepared.catalog.roles.items())
    return {
        "tenantfuzz": __version__,
        "PostgreSQL": prepared.server.version_text.partition(".")[0],
        "attacker": prepared.attacker.value,
        "strict": str(strict).lower(),
        "preset": configuration.target.preset or "",
        "configuration": digest(*map(repr, said)),
        "roles": digest(
            *(
                (
                    r.name,
                    r.superuser,
                    r.bypass_row_security,
                    r.login,
                    r.inherit,
                    sorted(r.member_of),
                    sorted(r.inherits_from),
                    r.settings,
                )
                for _, r in roles
            )
        ),
        "model": digest(
            model.tenants,
            model.tenant_key,
            model.tenant_values,
            model.identity,
            model.kinds,
            model.users,
            model.user_key,
            model.memberships,
            model.scope,
            model.audit,
        ),
    }


class _Reader:
    """Objects by key and part, and which node leads to which."""

    def __init__(self, unbound: Set[str]) -> None:
        """``unbound`` are the roles that no policy binds."""
        self._unbound = unbound
        self._definers: dict[str, bool] = {}  # SECURITY DEFINER: whether policies bind the owner
        self.objects: dict[str, dict[Part, dict[str, str]]] = {}
        self._edges: dict[Node, set[Node | str]] = defaultdict(set)
        self._passing: set[tuple[str, str]] = set()  # columns that differ at each loading
        self._adds: set[tuple[Node, Node | str]] = set()  # access that only inserts need
        self._keys: dict[tuple[str, int], str] = {}  # catalog and oid of whole objects
        self._nodes: dict[tuple[str, int], Node] = {}  # and of what belongs to one
        self._by_word: dict[str, set[str]] = defaultdict(set)
        self._odd_names: dict[str, set[str]] = defaultdict(set)  # no single word

    def read(self, ask: Ask) -> None:
        relations = ask(queries.RELATIONS)
        for record in relations:
            self._relation(record)
        types = ask(queries.TYPES)
        for record in types:
            key = f"type {record['schema']}.{record['name']}"
            self._object("pg_type", record["oid"], key, record["name"])
            self._put(Node(key, Part.DEFINITION), "definition", record["text"])
            if record["typrelid"]:
                self._keys["pg_class", record["typrelid"]] = key
        for record in ask(queries.ARRAYS):
            if (element := self._keys.get(("pg_type", record["element"]))) is not None:
                self._keys["pg_type", record["oid"]] = element
        functions = ask(queries.FUNCTIONS)
        for record in functions:
            name = f"{record['schema']}.{record['name']}"
            key = f"function {name}({record['arguments']})"
            self._object("pg_proc", record["oid"], key, record["name"])
            self._put(Node(key, Part.DEFINITION), "definition", record["text"])
            if record["definer"]:
                self._definers[key] = record["owner"] not in self._unbound
        oids = [r["oid"] for r in relations]
        self._parts(ask, oids, [t["oid"] for t in types])
        self._inheritance(relations)
        for record in ask(queries.DEPENDENCIES):
            self._dependency(record)
        for record in functions:
            self._body(record)

    def model(self, model: Model) -> None:
        """Who owns the rows, and the rules: what the verdict is measured by."""
        for name in model.ownership:
            key = f"relation {name}"
            if key not in self.objects:
                continue
            self._put(Node(key, Part.DEFINITION), "ownership", _owners(model, name))
            rules = [
                (kind, operation.value, rule)
                for (kind, relation, operation), rule in model.access.items()
                if relation == name
            ]
            references = [fk for relation, fk in model.references if relation == name]
            self._put(Node(key, Part.ACCESS), "rules", (rules, references))

    def reach(self, key: str, parts: Iterable[Part] = _ALL) -> set[Node | str]:
        """All nodes that the verdict on a relation rests on, itself included.

        Where a trigger only adds rows, in the name of a role that no policy binds, policies and
        grants do not matter. What it reads so does all the same: whoever may write there has a say
        in what it does.
        """
        found: set[tuple[Node | str, bool | None]] = set()
        # The flag: whether policies bind the reader. None: it does not matter, they count.
        waiting: list[tuple[Node | str, bool | None]] = [
            (Node(key, part), True if part in (Part.TRIGGERS, Part.WRITES) else None)
            for part in parts
        ]
        while waiting:
            node, bound = waiting.pop()
            if (node, bound) in found:
                continue
            found.add((node, bound))
            if not isinstance(node, Node):
                continue
            if bound is not None and (definer := self._definers.get(node.key)) is not None:
                bound = definer
            for following in self._edges.get(node, ()):
                if bound is not False or (node, following) not in self._adds:
                    waiting.append((following, bound))
        return {node for node, _ in found}

    def openers(self, key: str) -> frozenset[str]:
        """The relations that the policies of this one read, themselves or by functions."""
        nodes = self.reach(key, (Part.ACCESS,))
        return frozenset(
            n.key.removeprefix("relation ")
            for n in nodes
            if isinstance(n, Node) and n.part is Part.ACCESS and n.key != key
        )

    # Objects and their parts

    def _object(self, catalog: str, oid: int, key: str, name: str) -> None:
        self.objects.setdefault(key, {})
        self._keys[catalog, oid] = key
        self._nodes[catalog, oid] = Node(key, Part.DEFINITION)
        words = self._by_word if _WORD.fullmatch(name) else self._odd_names
        words[name.lower()].add(key)

    def _put(self, node: Node, name: str, text: object) -> None:
        self.objects[node.key].setdefault(node.part, {})[name] = digest(text)

    def _relation(self, record: _Record) -> None:
        kind = "sequence" if record["kind"] == "S" else "relation"
        key = f"{kind} {record['schema']}.{record['name']}"
        self._object("pg_class", record["oid"], key, record["name"])
        if record["reltype"]:
            self._keys["pg_type", record["reltype"]] = key
        self._put(Node(key, Part.DEFINITION), "definition", record["definition"])
        self._put(Node(key, Part.DEFINITION), "owner", record["owner"])
        self._put(Node(key, Part.ACCESS), "row security", record["row_security"])
        self._put(Node(key, Part.ACCESS), "grants", record["grants"])
        if _PUT_TOGETHER.search(record["definition"]):
            self._edges[Node(key, Part.DEFINITION)].add(ANYTHING)

    def _parts(self, ask: Ask, oids: list[int], types: list[int]) -> None:
        for record in ask(queries.COLUMNS, oids):
            node = self._node_of(record["relation"], Part.DEFINITION)
            self._put(node, f"column {record['name']}", record["text"])
            if record["passing"]:
                self._passing.add((node.key, record["name"]))
            if record["grants"] is not None:
                access = self._node_of(record["relation"], Part.ACCESS)
                self._put(access, f"grants on column {record['name']}", record["grants"])
        for record in ask(queries.CONSTRAINTS, oids, types):
            self._constraint(record)
        for record in ask(queries.INDEXES, oids):
            node = self._node_of(record["relation"], Part.DEFINITION)
            self._nodes["pg_class", record["oid"]] = node
            if record["counts"]:
                self._put(node, f"index {record['name']}", record["text"])
        for catalog, part, word, query in (
            ("pg_policy", Part.ACCESS, "policy", queries.POLICIES),
            ("pg_trigger", Part.TRIGGERS, "trigger", queries.TRIGGERS),
            ("pg_rewrite", Part.TRIGGERS, "rule", queries.RULES),
        ):
            for record in ask(query, oids):
                own = Part.DEFINITION if record["name"] == "_RETURN" else part
                node = self._node_of(record["relation"], own)
                self._nodes[catalog, record["oid"]] = node
                self._put(node, f"{word} {record['name']}", record["text"])
                if _PUT_TOGETHER.search(record["text"].replace("EXECUTE FUNCTION", "")):
                    self._edges[node].add(ANYTHING)
        for record in ask(queries.DEFAULTS, oids):
            node = self._node_of(record["relation"], Part.DEFINITION)
            self._nodes["pg_attrdef", record["oid"]] = node

    def rows(self, connection: psycopg.Connection[Any], relations: Iterable[Relation]) -> None:
        """The rows that the schema itself inserts: policies may read them. Columns that are filled
        with the time or by chance are left out, unless a statement says otherwise."""
        for relation in relations:
            key = f"relation {relation.name}"
            if relation.kind is not RelationKind.TABLE or key not in self.objects:
                continue
            columns = [c.name for c in relation.columns if (key, c.name) not in self._passing]
            row = sql.SQL("ROW({})::text").format(
                sql.SQL(", ").join(sql.Identifier("t", c) for c in columns)
            )
            query = sql.SQL(
                "SELECT count(*), md5(string_agg(x.line, ' ' ORDER BY x.line)) "
                'FROM (SELECT {} COLLATE "C" AS line FROM ONLY {} AS t) AS x'
            ).format(row, sql.Identifier(relation.name.schema, relation.name.name))
            found = connection.execute(query).fetchone()
            if found is not None and found[0]:
                self._put(Node(key, Part.DEFINITION), "rows of the schema's own", found)

    def _node_of(self, oid: int, part: Part) -> Node:
        return Node(self._keys["pg_class", oid], part)

    def _constraint(self, record: _Record) -> None:
        owner = (
            ("pg_class", record["relation"]) if record["relation"] else ("pg_type", record["type"])
        )
        node = Node(self._keys[owner], Part.DEFINITION)
        self._put(node, f"constraint {record['name']}", record["text"])
        target = self._keys.get(("pg_class", record["target"])) if record["target"] else None
        if record["kind"] != "f":
            self._nodes["pg_constraint", record["oid"]] = node
        elif target is not None:
            # A write to the target meets this relation's rows; it changes them where it cascades.
            writes = self._edges[Node(target, Part.WRITES)]
            writes.add(node)
            if record["writes"]:
                writes |= {Node(node.key, Part.TRIGGERS), Node(node.key, Part.WRITES)}

    def _inheritance(self, relations: Iterable[_Record]) -> None:
        """A child's rows are its parent's; what happens to these meets the child's triggers."""
        for record in relations:
            child = self._keys["pg_class", record["oid"]]
            for oid in record["parents"]:
                if (parent := self._keys.get(("pg_class", oid))) is None:
                    continue
                for part in (Part.DEFINITION, Part.TRIGGERS, Part.WRITES):
                    self._edges[Node(parent, part)].add(Node(child, part))
                self._edges[Node(child, Part.DEFINITION)].add(Node(parent, Part.DEFINITION))

    # What leads to what

    def _dependency(self, record: _Record) -> None:
        source = self._nodes.get((record["class"], record["objid"]))
        target = self._keys.get((record["refclass"], record["refobjid"]))
        if source is None or target is None or source.key == target:
            return
        if record["refclass"] != "pg_class" or not target.startswith("relation "):
            parts: tuple[Part, ...] = _READ if target.startswith("sequence ") else ()
            parts = parts or (Part.DEFINITION,)
        elif record["class"] == "pg_proc":
            parts = _ALL  # a body of the standard's form is not looked into
        elif record["class"] in ("pg_policy", "pg_rewrite"):
            parts = _ALL if source.part is Part.TRIGGERS else _READ
        else:
            parts = (Part.DEFINITION,)
        self._edges[source] |= {Node(target, part) for part in parts}

    def _body(self, record: _Record) -> None:
        """What a body names, in whichever schema; where it is put together, that is anything."""
        source = Node(self._keys["pg_proc", record["oid"]], Part.DEFINITION)
        body = record["source"] or ""
        if record["language"] in _HARMLESS:
            return
        dynamic = _PUT_TOGETHER.search(body) is not None
        if record["language"] not in _READABLE or dynamic:
            self._edges[source].add(ANYTHING)
        low = body.lower()
        named = {key for word in set(_WORD.findall(low)) for key in self._by_word.get(word, ())}
        named |= {key for name, keys in self._odd_names.items() if name in low for key in keys}
        used = _ALL if _WRITING.search(body) else _READ
        for key in named - {source.key}:
            parts = used if key.startswith(("relation ", "sequence ")) else (Part.DEFINITION,)
            self._edges[source] |= {Node(key, part) for part in parts}
            if _only_inserted(key.rpartition(".")[2].lower(), low):
                self._adds.add((source, Node(key, Part.ACCESS)))


def _only_inserted(name: str, body: str) -> bool:
    """Whether ``body`` names the relation for nothing but to insert into it."""
    word = rf"(?<![\w$]){re.escape(name)}(?![\w$])"
    into = rf'\binsert\s+into\s+(?:[\w$]+\s*\.\s*|"[^"]*"\s*\.\s*)?"?{word}'
    return 0 < len(re.findall(into, body)) == len(re.findall(word, body))


def _owners(model: Model, name: RelationName) -> list[object]:
    """How rows belong to tenants, with all relations on the way to the owner."""
    chain: list[object] = []
    open_names, seen = [name], set[RelationName]()
    while open_names:
        current = open_names.pop(0)
        if current in seen:
            continue
        seen.add(current)
        ownership = model.owner_of(current)
        chain.append((current, ownership))
        open_names += [way.target for way in ownership.ways]
    return chain
