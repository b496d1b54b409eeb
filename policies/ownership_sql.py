"""Ownership as SQL text: for each row of a relation, its owners, as the trusted role reads them."""

from collections.abc import Iterable
from dataclasses import dataclass

from tenantfuzz.policies.model import Model, Ownership, OwnershipKind, Way
from tenantfuzz.policies.quoting import identifier, literal
from tenantfuzz.policies.structure import Catalog, RelationName

_NOBODY = "'{}'::text[]"
_MAX_DEPTH = 12  # longer ways than this are cycles


@dataclass(frozen=True, slots=True)
class OwnershipQuery:
    """A query over one relation. Each row: key text (a JSON array), tenants (text[]), users
    (text[]), whether it is shared, and the row itself as text."""

    relation: RelationName
    sql: str
    judged: bool  # False where the relation is unclassified: its rows are read, never judged


def key_expression(catalog: Catalog, relation: RelationName, alias: str) -> str:
    """The key of a row as one text value: a JSON array of the key columns' texts.

    A relation without a key is identified by its whole row.
    """
    key = catalog.relations[relation].primary_key
    if key is None:
        return f"{alias}::text"
    columns = ", ".join(f"{alias}.{identifier(c)}::text" for c in key.columns)
    return f"jsonb_build_array({columns})::text"


def ownership_query(catalog: Catalog, model: Model, relation: RelationName) -> OwnershipQuery:
    """The query that tells the owners of every row of ``relation``."""
    compiler = _Compiler(catalog, model)
    alias = identifier(relation.name)
    tenants, users, shared = compiler.owners(relation, alias, 0)
    source = f"{identifier(relation.schema)}.{identifier(relation.name)} AS {alias}"
    return OwnershipQuery(
        relation,
        f"SELECT {key_expression(catalog, relation, alias)}, array_remove({tenants}, NULL), "
        f"array_remove({users}, NULL), {shared}, {alias}::text FROM {source}",
        judged=model.owner_of(relation).kind is not OwnershipKind.UNCLASSIFIED,
    )


def membership_query(model: Model) -> str | None:
    """Every membership: user, tenant, kind, whether in force, and all its columns as JSON text."""
    memberships = model.memberships
    if memberships is None:
        return None
    cases = " ".join(
        f"WHEN {kind.where} THEN {literal(kind.name)}"
        for kind in model.kinds
        if kind.where is not None and kind.source is None
    )
    default = literal(model.kinds[-1].name)
    kind = f"CASE {cases} ELSE {default} END" if cases else default
    relation = memberships.relation
    source = f"{identifier(relation.schema)}.{identifier(relation.name)} AS membership"
    return (
        f"SELECT membership.{identifier(memberships.user)}::text, "
        f"membership.{identifier(memberships.tenant)}::text, {kind}, "
        f"coalesce(({memberships.active or 'true'}), false), to_jsonb(membership)::text "
        f"FROM {source} WHERE membership.{identifier(memberships.tenant)} IS NOT NULL "
        f"AND membership.{identifier(memberships.user)} IS NOT NULL ORDER BY 2, 1, 3"
    )


class _Compiler:
    def __init__(self, catalog: Catalog, model: Model) -> None:
        self._catalog = catalog
        self._model = model
        self._aliases = 0

    def owners(self, relation: RelationName, alias: str, depth: int) -> tuple[str, str, str]:
        """Expressions over ``alias``: tenants (text[]), users (text[]), shared (boolean)."""
        ownership = self._model.owner_of(relation)
        tenants, users, shared = self._by_kind(relation, ownership, alias, depth)
        users = self._with_own(relation, alias, users)
        if ownership.null_shared:
            nobody = f"cardinality(array_remove({tenants}, NULL)) = 0"
            shared = nobody if shared == "false" else f"({shared} OR {nobody})"
        return tenants, users, shared

    def _by_kind(
        self, relation: RelationName, ownership: Ownership, alias: str, depth: int
    ) -> tuple[str, str, str]:
        kind = ownership.kind
        if kind in (OwnershipKind.TENANTS, OwnershipKind.COLUMN):
            column = identifier(ownership.column or "")
            if self._is_array(relation, ownership.column):
                return f"coalesce({alias}.{column}::text[], {_NOBODY})", _NOBODY, "false"
            return f"ARRAY[{alias}.{column}::text]", _NOBODY, "false"
        if kind is OwnershipKind.USER:
            return _NOBODY, f"ARRAY[{alias}.{identifier(ownership.column or '')}::text]", "false"
        if kind is OwnershipKind.MEMBERS:
            return self._members(ownership, alias), _NOBODY, "false"
        if kind is OwnershipKind.SQL:
            return self._sql(relation, ownership, alias), _NOBODY, "false"
        if kind is OwnershipKind.VIA:
            found = [self._way(way, alias, depth) for way in ownership.ways]
            return (
                " || ".join(f[0] for f in found),
                " || ".join(f[1] for f in found),
                "false",
            )
        return _NOBODY, _NOBODY, "true" if kind is OwnershipKind.SHARED else "false"

    def _is_array(self, relation: RelationName, column: str | None) -> bool:
        found = self._catalog.relations[relation].column(column or "")
        return found is not None and found.type.category == "array"

    def _way(self, way: Way, alias: str, depth: int) -> tuple[str, str]:
        if depth >= _MAX_DEPTH:
            return _NOBODY, _NOBODY
        self._aliases += 1
        inner = f"o{self._aliases}"
        tenants, users, _ = self.owners(way.target, inner, depth + 1)
        source = f"{identifier(way.target.schema)}.{identifier(way.target.name)} AS {inner}"
        same = " AND ".join(
            f"{inner}.{identifier(t)}::text = {alias}.{identifier(c)}::text"
            for c, t in zip(way.columns, way.target_columns, strict=True)
        )
        return (
            f"ARRAY(SELECT unnest({tenants}) FROM {source} WHERE {same})",
            f"ARRAY(SELECT unnest({users}) FROM {source} WHERE {same})",
        )

    def _members(self, ownership: Ownership, alias: str) -> str:
        memberships = self._model.memberships
        if memberships is None:
            return _NOBODY
        relation = memberships.relation
        source = f"{identifier(relation.schema)}.{identifier(relation.name)} AS membership"
        return (
            f"ARRAY(SELECT membership.{identifier(memberships.tenant)}::text FROM {source} "
            f"WHERE membership.{identifier(memberships.user)}::text = "
            f"{alias}.{identifier(ownership.column or '')}::text "
            f"AND ({memberships.active or 'true'}))"
        )

    def _sql(self, relation: RelationName, ownership: Ownership, alias: str) -> str:
        key = self._catalog.relations[relation].primary_key
        columns = key.columns if key else ()
        names = [f"k{i}" for i in range(len(columns))]
        same = " AND ".join(
            f"s.{n}::text = {alias}.{identifier(c)}::text"
            for n, c in zip(names, columns, strict=True)
        )
        query = (ownership.sql or "").strip().rstrip(";")
        return (
            f"ARRAY(SELECT s.owner::text FROM ({query}) AS s({', '.join([*names, 'owner'])}) "
            f"WHERE {same or 'true'})"
        )

    def _with_own(self, relation: RelationName, alias: str, users: str) -> str:
        """A user's own row in the users table, and its own memberships, are always its own."""
        own: list[str] = []
        if relation == self._model.users and self._model.user_key:
            own.append(self._model.user_key)
        memberships = self._model.memberships
        if memberships is not None and relation == memberships.relation:
            own.append(memberships.user)
        for column in own:
            mine = f"ARRAY[{alias}.{identifier(column)}::text]"
            users = mine if users == _NOBODY else f"({users} || {mine})"
        return users


def rows_satisfying(catalog: Catalog, relation: RelationName, predicate: str) -> str:
    """The keys of the rows for which ``predicate`` (its placeholders bound) is true.

    The relation is in scope by its bare name; a partition by that of its root, whose rule it is.
    """
    root = catalog.relations[relation]
    while root.parent is not None and root.parent in catalog.relations:
        root = catalog.relations[root.parent]
    alias = identifier(root.name.name)
    source = f"{identifier(relation.schema)}.{identifier(relation.name)} AS {alias}"
    return f"SELECT {key_expression(catalog, relation, alias)} FROM {source} WHERE ({predicate})"


def rows_by_key(catalog: Catalog, relation: RelationName, keys: Iterable[str]) -> str:
    """A condition over the bare table name's columns that picks the rows with these keys."""
    alias = identifier(relation.name)
    wanted = ", ".join(literal(k) for k in sorted(keys))
    return f"{key_expression(catalog, relation, alias)} IN ({wanted})"
