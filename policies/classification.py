"""Classification: how the rows of each relation belong to tenants, declared or inferred."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from tenantfuzz.policies.configuration import (
    TableEntry,
    TableOwnership,
    parse_ownership,
)
from tenantfuzz.policies.lookup import Lookup, single_key
from tenantfuzz.policies.model import Memberships, Ownership, OwnershipKind, Way
from tenantfuzz.policies.sections import path_text
from tenantfuzz.policies.structure import ForeignKey, Relation, RelationKind, RelationName
from tenantfuzz.policies.ways import References, named_way, way_of_columns

_NOT_TESTED = {
    RelationKind.VIEW: "a view: not tested as a door in this version",
    RelationKind.MATERIALIZED_VIEW: "a view: not tested as a door in this version",
    RelationKind.FOREIGN: "a foreign table: its rows live elsewhere",
}
# What a way may lead to, for the row at its end to have an owner.
_OWNED = frozenset(
    {
        OwnershipKind.TENANTS,
        OwnershipKind.COLUMN,
        OwnershipKind.USER,
        OwnershipKind.MEMBERS,
        OwnershipKind.SQL,
    }
)
# What a foreign key may lead to, for an inferred way to be sure.
_TENANT_OWNED = frozenset(
    {OwnershipKind.TENANTS, OwnershipKind.COLUMN, OwnershipKind.VIA, OwnershipKind.SQL}
)
# What a foreign key may lead to without saying anything of an owner.
_NEUTRAL = frozenset({OwnershipKind.SHARED, OwnershipKind.MEMBERS, OwnershipKind.USER})

UNCLASSIFIED = Ownership(OwnershipKind.UNCLASSIFIED)
_LEFT_OPEN = "the configuration leaves it open"


@dataclass(frozen=True, slots=True)
class Landmarks:
    """The relations that the rest is classified by; ``columns`` are the usual tenant columns."""

    tenants: Relation | None
    tenant_key: str | None
    users: Relation | None
    user_key: str | None
    memberships: Memberships | None
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Declared:
    ownership: TableOwnership
    where: str
    reason: str


class Classification:
    """Classifies every relation of the catalog; what is wrong goes to the lookup's problems."""

    def __init__(self, lookup: Lookup, references: References, landmarks: Landmarks) -> None:
        self._lookup = lookup
        self._references = references
        self._landmarks = landmarks
        self._ownership: dict[RelationName, Ownership] = {}

    def resolve(
        self, tables: Mapping[str, TableOwnership], preset: Mapping[str, object]
    ) -> dict[RelationName, Ownership]:
        """The ownership of every relation: ``tables`` as the file declares them, then what the
        preset says, then what follows from landmarks, then what foreign keys show."""
        declared = self._preset(preset) | self._tables(tables)
        ways: dict[RelationName, _Declared] = {}
        open_relations: list[Relation] = []
        for name, relation in self._lookup.catalog.relations.items():
            own = declared.get(name)
            if relation.is_partition and own is None:
                continue
            if own is not None and isinstance(own.ownership, TableEntry) and own.ownership.via:
                ways[name] = own
                self._ownership[name] = Ownership(OwnershipKind.VIA, reason=own.reason)
            elif own is not None:
                self._ownership[name] = self._as_declared(relation, own)
            elif relation.kind in _NOT_TESTED:
                self._ownership[name] = replace(UNCLASSIFIED, reason=_NOT_TESTED[relation.kind])
            elif (known := self._by_landmark(relation)) is not None:
                self._ownership[name] = known
            else:
                open_relations.append(relation)
        self._resolve_ways(ways)
        self._infer(open_relations)
        self._require_owners(ways)
        self._give_to_partitions()
        for name, relation in self._lookup.catalog.relations.items():
            if relation.kind in _NOT_TESTED:
                self._ownership[name] = replace(UNCLASSIFIED, reason=_NOT_TESTED[relation.kind])
        return {name: self._ownership[name] for name in self._lookup.catalog.relations}

    def _tables(self, tables: Mapping[str, TableOwnership]) -> dict[RelationName, _Declared]:
        found: dict[RelationName, _Declared] = {}
        for text, ownership in tables.items():
            where = path_text(("tenancy", "tables", text))
            relation = self._lookup.relation(text, "tenancy.tables")
            if relation is None:
                continue
            if relation.name in found:
                other = found[relation.name].where
                self._lookup.problem(where, f"{relation.name} is declared twice (see {other})")
            found[relation.name] = _Declared(ownership, where, "declared")
        return found

    def _preset(self, preset: Mapping[str, object]) -> dict[RelationName, _Declared]:
        """The preset's own relations; a name may be a glob, and exact names go before globs."""
        found: dict[RelationName, _Declared] = {}
        for pattern in sorted(preset, key=lambda p: ("*" not in p, p)):
            for name in self._lookup.catalog.relations:
                if fnmatchcase(str(name), pattern):
                    ownership = parse_ownership(preset[pattern])
                    where = f"the preset's classification of {pattern}"
                    found[name] = _Declared(ownership, where, "classified by the preset")
        return found

    def _as_declared(self, relation: Relation, declared: _Declared) -> Ownership:
        entry, where = declared.ownership, declared.where
        if isinstance(entry, str):
            kind = OwnershipKind(entry)
            if kind is OwnershipKind.UNCLASSIFIED:
                return replace(UNCLASSIFIED, reason=_LEFT_OPEN)
            if kind is not OwnershipKind.MEMBERS:
                return Ownership(kind, reason=declared.reason)
            key = self._landmarks.user_key if relation is self._landmarks.users else None
            key = key or single_key(relation)
            if key is None:
                self._lookup.problem(
                    where, 'needs the column that holds the user: { members = "user_id" }'
                )
            return self._members(key, declared)
        if entry.members is not None:
            self._lookup.column(relation, entry.members, f"{where}.members")
            return self._members(entry.members, declared)
        if entry.user is not None:
            self._lookup.column(relation, entry.user, f"{where}.user")
            return Ownership(OwnershipKind.USER, column=entry.user, reason=declared.reason)
        if entry.sql is not None:
            if relation.primary_key is None:
                self._lookup.problem(where, f"'sql' needs a primary key; {relation.name} has none")
            return Ownership(OwnershipKind.SQL, sql=entry.sql, reason=declared.reason)
        column = entry.column or ""
        self._lookup.column(relation, column, f"{where}.column")
        shared = entry.null == "shared"
        return Ownership(
            OwnershipKind.COLUMN, column=column, null_shared=shared, reason=declared.reason
        )

    def _members(self, key: str | None, declared: _Declared) -> Ownership:
        if self._landmarks.memberships is None:
            self._lookup.problem(declared.where, "'members' needs identity.memberships")
        return Ownership(OwnershipKind.MEMBERS, column=key, reason=declared.reason)

    def _by_landmark(self, relation: Relation) -> Ownership | None:
        marks = self._landmarks
        memberships = marks.memberships
        if relation is marks.tenants:
            return Ownership(
                OwnershipKind.TENANTS, column=marks.tenant_key, reason="the tenants table"
            )
        # Before users: where one relation is both, its rows carry their tenant themselves.
        if memberships is not None and relation.name == memberships.relation:
            return Ownership(
                OwnershipKind.COLUMN, column=memberships.tenant, reason="the memberships table"
            )
        if relation is marks.users and memberships is not None:
            return Ownership(OwnershipKind.MEMBERS, column=marks.user_key, reason="the users table")
        for column in marks.columns:
            if relation.column(column) is not None:
                return Ownership(
                    OwnershipKind.COLUMN, column=column, reason=f"it has the column {column}"
                )
        if relation is marks.users:
            return Ownership(OwnershipKind.USER, column=marks.user_key, reason="the users table")
        return None

    def _resolve_ways(self, declared: Mapping[RelationName, _Declared]) -> None:
        """Turns the texts of ``via`` into ways, once the kinds of all other relations are known."""
        for name, own in declared.items():
            relation = self._lookup.catalog.relations[name]
            assert isinstance(own.ownership, TableEntry)
            texts = own.ownership.via or ()
            self._ownership[name] = Ownership(
                OwnershipKind.VIA,
                ways=tuple(self._ways(relation, texts, f"{own.where}.via")),
                null_shared=own.ownership.null == "shared",
                reason=own.reason,
            )

    def _ways(self, relation: Relation, texts: tuple[str, ...], where: str) -> Iterator[Way]:
        plain = [text for text in texts if "->" not in text]
        known = [text for text in plain if self._lookup.column(relation, text, where)]
        if len(texts) > 1 and known == list(texts):
            whole = way_of_columns(self._references, relation, texts, self._has_owner)
            if whole is not None:
                yield whole
                return
        for text in texts:
            if text not in plain:
                named = named_way(self._lookup, relation, text, where)
                if named is not None:
                    self._references.add(relation.name, named)
                    yield named
            elif text in known:
                way = way_of_columns(self._references, relation, (text,), self._has_owner)
                if way is not None:
                    yield way
                else:
                    self._lookup.problem(
                        where,
                        f"{relation.name}.{text} is in no foreign key: say where it leads, "
                        f'as in "{text} -> table.column"',
                    )

    def _has_owner(self, target: RelationName) -> bool:
        kind = self._of(target).kind
        return kind in _OWNED or kind is OwnershipKind.VIA

    def _of(self, name: RelationName) -> Ownership:
        """What is known so far; a partition has its parent's ownership."""
        relation = self._lookup.catalog.relations.get(name)
        while relation is not None:
            if (known := self._ownership.get(relation.name)) is not None:
                return known
            parent = relation.parent
            relation = self._lookup.catalog.relations.get(parent) if parent is not None else None
        return UNCLASSIFIED

    def _infer(self, relations: list[Relation]) -> None:
        """Repeats until nothing more follows, so that the order of relations does not matter."""
        waiting = list(relations)
        progress = True
        while progress:
            inferred = {r.name: o for r in waiting if (o := self._inferred(r)) is not None}
            self._ownership.update(inferred)
            waiting = [r for r in waiting if r.name not in inferred]
            progress = bool(inferred)
        for relation in waiting:
            self._ownership[relation.name] = replace(UNCLASSIFIED, reason=self._why_not(relation))

    def _candidates(self, relation: Relation) -> list[ForeignKey]:
        """The foreign keys that may say who owns a row. One to the users table says who made it:
        it counts only where there is no other and users belong to one tenant each."""
        users = self._landmarks.users
        telling = [
            key
            for key in self._references.keys(relation)
            if not self._is_neutral(key.target) and key.target != relation.name
        ]
        others = [key for key in telling if users is None or key.target != users.name]
        return others or telling

    def _is_neutral(self, target: RelationName) -> bool:
        ownership = self._of(target)
        return ownership.kind in _NEUTRAL or ownership.null_shared

    def _inferred(self, relation: Relation) -> Ownership | None:
        keys = self._candidates(relation)
        if not keys or any(self._of(key.target).kind not in _TENANT_OWNED for key in keys):
            return None
        required = [key for key in keys if _not_null(relation, key)]
        chosen = required if len(required) == 1 else keys
        ways = tuple(Way(key.columns, key.target, key.target_columns) for key in chosen)
        leads = " and ".join(f"{', '.join(k.columns)} leads to {k.target}" for k in chosen)
        return Ownership(OwnershipKind.VIA, ways=ways, reason=f"inferred: {leads}")

    def _why_not(self, relation: Relation) -> str:
        dead = [
            key
            for key in self._candidates(relation)
            if self._of(key.target).kind not in _TENANT_OWNED
        ]
        if not dead:
            return "no tenant column, and no foreign key to rows of a tenant"
        key = dead[0]
        kind = self._of(key.target).kind
        return (
            f"no tenant column, and {', '.join(key.columns)} leads to {key.target}, "
            f"which is {kind.value}"
        )

    def _require_owners(self, declared: Mapping[RelationName, _Declared]) -> None:
        reached = {n for n, o in self._ownership.items() if o.kind in _OWNED}
        progress = True
        while progress:
            more = {
                name
                for name, ownership in self._ownership.items()
                if name not in reached
                and any(self._root(way.target) in reached for way in ownership.ways)
            }
            reached |= more
            progress = bool(more)
        for name, own in declared.items():
            ways = self._ownership[name].ways
            if name not in reached and ways:
                if left := self._left_open(name):
                    reason = f"it leads to {left}, and {_LEFT_OPEN}"
                    self._ownership[name] = replace(UNCLASSIFIED, reason=reason)
                    continue
                targets = " and ".join(
                    f"{way.target} ({self._of(way.target).kind.value})" for way in ways
                )
                self._lookup.problem(
                    f"{own.where}.via", f"never reaches an owner: it leads to {targets}"
                )

    def _left_open(self, name: RelationName, above: frozenset[RelationName] = frozenset()) -> str:
        """The relation that the configuration leaves open and that ways from ``name`` lead to."""
        found = self._of(name)
        if found.reason == _LEFT_OPEN:
            return str(name)
        targets = [w.target for w in found.ways if w.target not in above]
        left = (self._left_open(t, above | {name}) for t in targets)
        return next((text for text in left if text), "")

    def _root(self, name: RelationName) -> RelationName:
        relation = self._lookup.catalog.relations[name]
        while relation.name not in self._ownership and relation.parent is not None:
            relation = self._lookup.catalog.relations[relation.parent]
        return relation.name

    def _give_to_partitions(self) -> None:
        for name in self._lookup.catalog.relations:
            if name not in self._ownership:
                self._ownership[name] = self._of(name)


def _not_null(relation: Relation, key: ForeignKey) -> bool:
    columns = [relation.column(name) for name in key.columns]
    return all(column is not None and column.not_null for column in columns)
