"""The order in which relations are populated, and what is done about cycles of foreign keys."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from tenantfuzz.policies.model import Model, OwnershipKind
from tenantfuzz.policies.structure import Catalog, ForeignKey, Relation, RelationName
from tenantfuzz.strategies.plan import Link

_NAMED = 5  # members of a cycle that a reason names


def links_of(catalog: Catalog, model: Model, name: RelationName) -> tuple[Link, ...]:
    """The foreign keys of a relation, declared or not, and the columns by which its rows are
    owned; links that give the owner come first, then those of many columns."""
    relation = catalog.relations[name]
    owning = {_pairs(key): key for key in _ownership_keys(model, name, owning=True)}
    others = _ownership_keys(model, name, owning=False)
    keys = {_pairs(key): key for key in (*others, *owning.values())}
    # A declared key replaces the same one read from the model: it alone can be deferrable.
    keys |= {_pairs(key): key for key in reversed(model.foreign_keys(catalog, name))}
    assumed = {_pairs(key) for key in others} | set(owning)
    links = [
        Link(
            key,
            hard=(key.declared or pairs in assumed) and _cannot_be_null(relation, key),
            owning=pairs in owning,
        )
        for pairs, key in keys.items()
        if key.declared or key.target in catalog.relations
    ]
    return tuple(
        sorted(links, key=lambda k: (not k.owning, -len(k.key.columns), k.key.columns, k.key.name))
    )


def _ownership_keys(model: Model, name: RelationName, *, owning: bool) -> list[ForeignKey]:
    """What the model says about references from this relation (``owning``: the ways to its
    owner; else: the columns that hold a tenant or a user)."""
    ownership = model.owner_of(name)
    if owning:
        return [_named(way.columns, way.target, way.target_columns) for way in ownership.ways]
    keys: list[ForeignKey] = []
    tenants, tenant_key = model.tenants, model.tenant_key
    users, user_key = model.users, model.user_key
    if ownership.column is not None:
        if ownership.kind is OwnershipKind.COLUMN and tenants and tenant_key:
            keys.append(_named((ownership.column,), tenants, (tenant_key,)))
        if ownership.kind in (OwnershipKind.USER, OwnershipKind.MEMBERS) and users and user_key:
            keys.append(_named((ownership.column,), users, (user_key,)))
    if model.memberships is not None and model.memberships.relation == name:
        if tenants and tenant_key:
            keys.append(_named((model.memberships.tenant,), tenants, (tenant_key,)))
        if users and user_key:
            keys.append(_named((model.memberships.user,), users, (user_key,)))
    # A row need not point at itself by its own key.
    return [k for k in keys if k.target != name]


def _named(
    columns: tuple[str, ...], target: RelationName, target_columns: tuple[str, ...]
) -> ForeignKey:
    return ForeignKey("", columns, target, target_columns, declared=False)


def _pairs(key: ForeignKey) -> tuple[RelationName, frozenset[tuple[str, str]]]:
    return key.target, frozenset(zip(key.columns, key.target_columns, strict=True))


def nullable(relation: Relation, column: str) -> bool:
    """Whether a column may hold NULL (generated columns and unknown ones may not be set to it)."""
    found = relation.column(column)
    return found is not None and not (
        found.not_null or found.type.domain_not_null or found.generated or found.identity
    )


def _cannot_be_null(relation: Relation, key: ForeignKey) -> bool:
    free = [nullable(relation, c) for c in key.columns]
    return not (all(free) if key.match_full else any(free))


@dataclass(frozen=True, slots=True)
class Arrangement:
    """``order``, parents first; the links with ``late`` and ``ahead`` set; what failed, and why."""

    order: tuple[RelationName, ...]
    links: Mapping[RelationName, tuple[Link, ...]]
    failed: Mapping[RelationName, str]


def arrange(
    names: Iterable[RelationName],
    links: Mapping[RelationName, tuple[Link, ...]],
    *,
    first: Sequence[RelationName] = (),
    stocked: frozenset[RelationName] = frozenset(),
) -> Arrangement:
    """Order relations so that each follows those it refers to, as far as that is possible.

    ``first`` are preferred where there is a choice. ``stocked`` relations hold rows already: a
    cycle may be broken at a reference to one of them.
    """
    rank = {name: at for at, name in enumerate(first)}
    waiting = sorted(set(names), key=lambda n: (rank.get(n, len(rank)), n))
    marked = {name: links.get(name, ()) for name in waiting}
    pending = {
        n: [k for k in found if k.key.target in marked and k.key.target != n]
        for n, found in marked.items()
    }
    placed: list[RelationName] = []
    while waiting:
        chosen = next((n for n in waiting if not pending[n]), None)
        if chosen is None:
            chosen = _break_cycle(_innermost(waiting, pending), pending, stocked)
            if chosen is None:
                break
            marked[chosen] = tuple(
                replace(k, late=not k.hard, ahead=k.hard and k.key.target not in stocked)
                if k in pending[chosen]
                else k
                for k in marked[chosen]
            )
        waiting.remove(chosen)
        placed.append(chosen)
        del pending[chosen]
        for name, found in pending.items():
            if any(k.key.target == chosen for k in found):
                pending[name] = [k for k in found if k.key.target != chosen]
    failed = {}
    if waiting:
        circle = _innermost(waiting, pending)
        for name in waiting:
            others = ", ".join(str(n) for n in circle[:_NAMED] if n != name)
            failed[name] = (
                f"its NOT NULL foreign keys form a cycle with {others}, and none is deferrable"
                if name in circle
                else f"needs a row of {pending[name][0].key.target}, which is not populated"
            )
    return Arrangement(tuple(placed), marked, failed)


def _innermost(
    waiting: Sequence[RelationName], pending: Mapping[RelationName, Sequence[Link]]
) -> list[RelationName]:
    """A set of relations that wait for one another and for nothing else."""
    ahead = {n: [k.key.target for k in pending[n]] for n in waiting}
    back: dict[RelationName, list[RelationName]] = {n: [] for n in waiting}
    for name, targets in ahead.items():
        for target in targets:
            back[target].append(name)
    name = waiting[0]
    while True:
        needs = _reached(name, ahead)
        strangers = needs - _reached(name, back)
        if not strangers:
            return [n for n in waiting if n in needs]
        # What it needs without being needed there lies further in.
        name = min(strangers)


def _reached(
    start: RelationName, edges: Mapping[RelationName, Sequence[RelationName]]
) -> set[RelationName]:
    seen: set[RelationName] = set()
    stack = [start]
    while stack:
        for target in edges[stack.pop()]:
            if target not in seen:
                seen.add(target)
                stack.append(target)
    return seen


def _break_cycle(
    circle: Sequence[RelationName],
    pending: Mapping[RelationName, Sequence[Link]],
    stocked: frozenset[RelationName],
) -> RelationName | None:
    """The relation that can come first: all that it misses may be NULL for a while; or, failing
    that, is checked at the end only, is not checked at all, or may point at a row that exists."""

    def patient(link: Link) -> bool:
        return link.key.deferrable or not link.key.declared or link.key.target in stocked

    soft = [n for n in circle if not any(k.hard for k in pending[n])]
    able = soft or [n for n in circle if all(patient(k) for k in pending[n] if k.hard)]
    return min(able, key=lambda n: len(pending[n])) if able else None
