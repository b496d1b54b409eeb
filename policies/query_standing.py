"""Which references of an application query are tied to the caller's tenant, and what would tie
those that are not."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

import sqlglot
from sqlglot import exp

from tenantfuzz.policies.model import Model, OwnershipKind
from tenantfuzz.policies.query_parts import Input, Node, Place, QueryAnalysis, Reference, Term
from tenantfuzz.policies.query_text import QueryText, restored
from tenantfuzz.policies.quoting import readable_identifier
from tenantfuzz.policies.structure import Catalog, RelationName

_EXEMPT = frozenset({OwnershipKind.SHARED, OwnershipKind.PRIVATE, OwnershipKind.UNCLASSIFIED})
_DEPTH = 6


class Standing(IntEnum):
    """How a reference is tied to the caller's tenant, loosest first."""

    OPEN = 0  # nothing ties it
    KEYED = 1  # a key leads there from a tied reference: only as safe as no key crosses tenants
    TIED = 2  # by the tenant or the user, directly or by equality with a tied reference
    EXEMPT = 3  # its rows belong to no tenant


@dataclass(frozen=True, slots=True)
class Callers:
    """Which inputs of a query are the caller's own tenant and user."""

    tenant: frozenset[str]
    user: frozenset[str] = frozenset()


def standings(
    analysis: QueryAnalysis, catalog: Catalog, model: Model, callers: Callers
) -> tuple[Standing, ...]:
    """The standing of each reference, by its number."""
    return _Judge(analysis, catalog, model, callers).all()


@dataclass(slots=True)
class _Judge:
    analysis: QueryAnalysis
    catalog: Catalog
    model: Model
    callers: Callers
    known: list[Standing] = field(default_factory=list)
    _equal: dict[int, dict[Term, set[Term]]] = field(default_factory=dict)

    def all(self) -> tuple[Standing, ...]:
        """A fixed point: each pass may tie references to those that the last one tied."""
        for reference in self.analysis.references:
            kind = self.model.owner_of(reference.relation).kind
            self.known.append(Standing.EXEMPT if kind in _EXEMPT else Standing.OPEN)
        for limit in (Standing.TIED, Standing.KEYED):
            changed = True
            while changed:
                changed = False
                for reference in self.analysis.references:
                    standing = min(self._standing(reference), limit)
                    if standing > self.known[reference.number]:
                        self.known[reference.number] = standing
                        changed = True
        return tuple(self.known)

    def _standing(self, reference: Reference) -> Standing:
        if self.known[reference.number] is Standing.EXEMPT:
            return Standing.EXEMPT
        ways = [self._owned(reference), self._keyed(reference)]
        return max(ways)

    def _owned(self, reference: Reference) -> Standing:
        """By the columns that say whose its rows are."""
        ownership = self.model.owner_of(reference.relation)
        number = reference.number
        best = Standing.OPEN
        memberships = self.model.memberships
        if memberships is not None and reference.relation == memberships.relation:
            best = max(best, self._caller(number, memberships.user))
        owner = Place(number, ownership.column or "")
        if owner in self.analysis.shared_null and not ownership.null_shared:
            return best  # rows that belong to nobody come too
        if ownership.kind in (OwnershipKind.COLUMN, OwnershipKind.TENANTS) and ownership.column:
            best = max(best, self._tenant(number, ownership.column))
        elif ownership.kind is OwnershipKind.USER and ownership.column:
            best = max(best, self._caller(number, ownership.column))
        elif ownership.kind is OwnershipKind.MEMBERS and ownership.column:
            best = max(best, self._user(number, ownership.column))
        elif ownership.kind is OwnershipKind.VIA and ownership.ways:
            best = max(
                best,
                min(
                    max(
                        [
                            self._leads(number, way.columns, other.number, way.target_columns)
                            for other in self.analysis.references
                            if other.relation == way.target and other.number != number
                        ],
                        default=Standing.OPEN,
                    )
                    for way in ownership.ways
                ),
            )
        return best

    def _tenant(self, number: int, column: str) -> Standing:
        best = Standing.OPEN
        for term in self._same(number, Place(number, column)):
            if isinstance(term, Input):
                if term.name in self.callers.tenant:
                    return Standing.TIED
            elif term.reference != number and self._names_tenant(term):
                best = max(best, min(self.known[term.reference], Standing.TIED))
        return best

    def _caller(self, number: int, column: str) -> Standing:
        """Whether the column is the caller itself: what a colleague has is not yet one's own."""
        same = self._same(number, Place(number, column))
        mine = any(isinstance(t, Input) and t.name in self.callers.user for t in same)
        return Standing.TIED if mine else Standing.OPEN

    def _user(self, number: int, column: str) -> Standing:
        best = Standing.OPEN
        for term in self._same(number, Place(number, column)):
            if isinstance(term, Input):
                if term.name in self.callers.user:
                    return Standing.TIED
            elif term.reference != number and self._names_user(term):
                best = max(best, min(self.known[term.reference], Standing.TIED))
        return best

    def _names_tenant(self, place: Place) -> bool:
        ownership = self.model.owner_of(self._relation(place))
        kinds = (OwnershipKind.COLUMN, OwnershipKind.TENANTS)
        return ownership.kind in kinds and ownership.column == place.column

    def _names_user(self, place: Place) -> bool:
        relation = self._relation(place)
        memberships = self.model.memberships
        if memberships is not None and relation == memberships.relation:
            return place.column == memberships.user
        ownership = self.model.owner_of(relation)
        kinds = (OwnershipKind.USER, OwnershipKind.MEMBERS)
        return ownership.kind in kinds and ownership.column == place.column

    def _keyed(self, reference: Reference) -> Standing:
        """By a foreign key that leads there from a tied reference, or from there to one."""
        number = reference.number
        best = Standing.OPEN
        for other in self.analysis.references:
            if other.number == number or self.known[other.number] is Standing.EXEMPT:
                continue
            for fk in self.model.foreign_keys(self.catalog, reference.relation):
                if fk.target == other.relation:
                    way = self._leads(number, fk.columns, other.number, fk.target_columns)
                    best = max(best, min(way, Standing.KEYED))
            for fk in self.model.foreign_keys(self.catalog, other.relation):
                if fk.target == reference.relation:
                    way = self._leads(number, fk.target_columns, other.number, fk.columns)
                    best = max(best, min(way, Standing.KEYED))
        return best

    def _leads(
        self, number: int, columns: Sequence[str], other: int, others: Sequence[str]
    ) -> Standing:
        tied = all(
            Place(other, theirs) in self._same(number, Place(number, mine))
            for mine, theirs in zip(columns, others, strict=True)
        )
        return min(self.known[other], Standing.TIED) if tied else Standing.OPEN

    def _relation(self, place: Place) -> RelationName:
        return self.analysis.references[place.reference].relation

    def _same(self, number: int, place: Place) -> set[Term]:
        """The terms that equal ``place`` for every row of the reference ``number``."""
        if number not in self._equal:
            groups: dict[Term, set[Term]] = {}
            for equality in self.analysis.equalities:
                if number not in equality.holds_for:
                    continue
                joined = groups.get(equality.one, {equality.one})
                joined = joined | groups.get(equality.other, {equality.other})
                for term in joined:
                    groups[term] = joined
            self._equal[number] = groups
        return self._equal[number].get(place, set())


# What would close it


@dataclass(frozen=True, slots=True)
class Mend:
    """A condition that ties one reference, and the whole query with it."""

    reference: Reference
    condition: str  # as a person would write it: ``m.organization_id = :tenant``
    place: str  # where it goes, in words
    text: QueryText


def mends(
    analysis: QueryAnalysis,
    text: QueryText,
    catalog: Catalog,
    model: Model,
    tenant: str,
    user: str,
    chosen: Sequence[Reference],
) -> Iterator[Mend]:
    """For each of the chosen references the query with the condition that ties it, where there is
    one to offer. ``tenant`` and ``user`` are the parameters that stand for the caller's own."""
    for reference in chosen:
        condition = condition_of(reference, catalog, model, tenant=tenant, user=user)
        if condition is None:
            continue
        tree = analysis.tree.copy()
        place = _add(tree, reference, condition, text, tenant=tenant, user=user)
        if place is not None:
            made = restored(tree.sql(dialect="postgres"), text.names)
            yield Mend(reference, condition, place, made)


def all_mended(
    analysis: QueryAnalysis,
    text: QueryText,
    conditions: Sequence[Mend],
    *,
    tenant: str,
    user: str,
) -> QueryText:
    """The query with all these conditions at once."""
    tree = analysis.tree.copy()
    for mend in conditions:
        _add(tree, mend.reference, mend.condition, text, tenant=tenant, user=user)
    return restored(tree.sql(dialect="postgres"), text.names)


def condition_of(
    reference: Reference, catalog: Catalog, model: Model, *, tenant: str, user: str
) -> str | None:
    """The condition that ties a reference to the caller, or None where there is none to offer."""
    return _condition(
        reference.relation,
        readable_identifier(reference.alias),
        catalog,
        model,
        _parameter(tenant),
        _parameter(user),
        0,
    )


def _parameter(name: str) -> str:
    return f"${name}" if name.isdigit() else f":{name}"


def _condition(
    relation: RelationName,
    alias: str,
    catalog: Catalog,
    model: Model,
    tenant: str,
    user: str,
    depth: int,
) -> str | None:
    ownership = model.owner_of(relation)
    column = f"{alias}.{readable_identifier(ownership.column)}" if ownership.column else ""
    match ownership.kind:
        case OwnershipKind.TENANTS:
            return f"{column} = {tenant}"
        case OwnershipKind.COLUMN:
            found = catalog.relations[relation].column(ownership.column or "")
            if found is not None and found.type.category == "array":
                return f"{tenant} = ANY ({column})"
            if ownership.null_shared:
                return f"({column} = {tenant} OR {column} IS NULL)"
            return f"{column} = {tenant}"
        case OwnershipKind.USER:
            return f"{column} = {user}"
        case OwnershipKind.MEMBERS if model.memberships is not None:
            members = model.memberships
            active = f" AND {members.active}" if members.active else ""
            return (
                f"EXISTS (SELECT 1 FROM {_named(members.relation)} AS membership WHERE "
                f"membership.{readable_identifier(members.user)} = {column} AND "
                f"membership.{readable_identifier(members.tenant)} = {tenant}{active})"
            )
        case OwnershipKind.VIA if len(ownership.ways) == 1 and depth < _DEPTH:
            way = ownership.ways[0]
            inner = f"owner{depth + 1}" if depth else "owner"
            rest = _condition(way.target, inner, catalog, model, tenant, user, depth + 1)
            if rest is None:
                return None
            same = " AND ".join(
                f"{inner}.{readable_identifier(t)} = {alias}.{readable_identifier(c)}"
                for c, t in zip(way.columns, way.target_columns, strict=True)
            )
            return f"EXISTS (SELECT 1 FROM {_named(way.target)} AS {inner} WHERE {same} AND {rest})"
        case _:
            return None


def _named(relation: RelationName) -> str:
    name = readable_identifier(relation.name)
    return name if relation.schema == "public" else f"{relation.schema}.{name}"


def _add(
    tree: Node,
    reference: Reference,
    condition: str,
    text: QueryText,
    *,
    tenant: str,
    user: str,
) -> str | None:
    """Adds the condition to the tree; says where, or None where it cannot be put."""
    mark = "upsert" if reference.upserts else "reference"
    table = next(
        (t for t in tree.find_all(exp.Table) if t.meta.get(mark) == reference.number), None
    )
    if table is None:
        return None
    parsed = _parsed(condition, text, {tenant, user})
    parent = table.parent
    while isinstance(parent, (exp.Schema, exp.From, exp.Paren)):
        parent = parent.parent
    if isinstance(parent, exp.Table):  # the joins of a USING or FROM item stand in its table
        parent = parent.parent
    if isinstance(parent, exp.Insert):
        conflict = parent.args.get("conflict")
        if not reference.upserts or conflict is None:
            return None
        where = conflict.args.get("where")
        whole = exp.and_(where.this, parsed) if where is not None else parsed
        conflict.set("where", exp.Where(this=whole))
        return "to WHERE of ON CONFLICT DO UPDATE"
    if isinstance(parent, exp.Merge):
        parent.set("on", exp.and_(parent.args["on"], parsed))
        return "to ON of MERGE"
    if isinstance(parent, exp.Join) and parent.args.get("on") is not None:
        side = str(parent.args.get("side") or "").upper()
        if side in ("", "LEFT"):
            parent.set("on", exp.and_(parent.args["on"], parsed))
            return f"to the join of {reference.label}"
    home = table.find_ancestor(exp.Select, exp.Update, exp.Delete)
    if home is None:
        return None
    where = home.args.get("where")
    had_or = where is not None and isinstance(where.this, exp.Or)
    home.set("where", exp.Where(this=exp.and_(where.this, parsed) if where else parsed))
    return "to WHERE, with parentheses around its OR" if had_or else "to WHERE"


def _parsed(condition: str, text: QueryText, names: set[str]) -> Node:
    """The condition as a tree in which the query's own parameters are numbered as in its own."""
    shown = condition
    for name in names:
        if name in text.names:
            shown = shown.replace(_parameter(name), f":q{text.names.index(name)}")
    select = sqlglot.parse_one(f"SELECT 1 WHERE {shown}", dialect="postgres")
    where: Node = select.args["where"].this
    return exp.paren(where, copy=False) if isinstance(where, exp.Or) else where


def caller_names(names: Mapping[str, str]) -> Callers:
    """The inputs that stand for the caller, from each parameter's role."""
    return Callers(
        frozenset(n for n, role in names.items() if role in ("tenant", "tenants")),
        frozenset(n for n, role in names.items() if role == "user"),
    )
