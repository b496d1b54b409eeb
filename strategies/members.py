"""Users and memberships: who there is in a world, and which memberships make what of them."""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tenantfuzz.policies.model import DEFAULT_KIND, Kind, Model, OwnershipKind
from tenantfuzz.policies.structure import Catalog, Column, Relation, TypeCategory
from tenantfuzz.policies.world import Values
from tenantfuzz.strategies.checks import literals_of, parse_expression
from tenantfuzz.strategies.conditions import Truth, condition_of, truth_of
from tenantfuzz.strategies.ordering import nullable
from tenantfuzz.strategies.plan import Joining, Plan, singles_of
from tenantfuzz.strategies.values import uuid_text

_TRIED = 2000  # combinations of candidate values that are looked at
MOST_JOININGS = 6  # memberships per tenant, where there is no kind for each of them
_MOST_FORMERS = 4  # sorts of memberships that are not in force
_PAST = "2024-01-15 12:00:00+00"
_FUTURE = "2099-01-01 00:00:00+00"
_SUBSELECT = re.compile(r"\bselect\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Person:
    """A user to be made, with memberships: pairs of a tenant's number and what it looks like.

    ``number`` counts the users of a world; ``natural`` is equal for the users of different
    tenants that correspond to one another.
    """

    number: int
    natural: int
    memberships: tuple[tuple[int, Joining], ...] = ()

    @property
    def active_in(self) -> tuple[int, ...]:
        """The numbers of the tenants in which a membership is in force."""
        return tuple(tenant for tenant, joining in self.memberships if joining.active)


def plan_people(
    plan: Plan,
    tenants: int,
    *,
    kinds: bool,
    dual: bool,
    outsider: bool,
    former: bool,
    mixed: bool = False,
) -> tuple[Person, ...]:
    """The users of a world of so many tenants, in the order in which they are made.

    Each tenant gets one user per kind (``kinds``; else one); then follow the user of two tenants
    (``mixed``: and some who are of different kinds in two),
    the outsider and the former member, as far as the schema has room for them.
    """
    model = plan.model
    if model.memberships is None and model.users is None:
        return ()
    ordinary = next(j for j in reversed(plan.joinings) if not j.further)
    joinings = plan.joinings if kinds else (ordinary,)
    people: list[Person] = []

    def add(natural: int, *memberships: tuple[int, Joining]) -> None:
        people.append(Person(len(people), natural, memberships))

    for tenant in range(tenants):
        for natural, joining in enumerate(joinings):
            add(natural, (tenant, joining))
    natural = len(joinings)
    if dual and tenants > 1 and not lives_in_users(model):
        add(natural, (0, ordinary), (1, ordinary))
    if mixed and kinds and tenants > 1 and not lives_in_users(model):
        # Of different kinds in two tenants: what one is here must not count there.
        plain = [j for j in plan.joinings if not j.further and j.active]
        lower = next((j for j in reversed(plain) if j is not ordinary), None)
        if lower is not None:
            higher = next((j for j in plain if j is not lower and j is not ordinary), ordinary)
            pairs = [(higher, lower), (higher, ordinary), (ordinary, lower)]
            for extra, (here, there) in enumerate(p for p in pairs if p[0] is not p[1]):
                add(natural + 3 + extra, (0, here), (1, there))
    if outsider and can_be_outside(plan.catalog, model):
        add(natural + 1)
    if former:
        if plan.formers:
            # The first are those that every world has; numbers tell them apart.
            for extra, joining in enumerate(plan.formers):
                add(natural + (2 if not extra else 5 + extra), (min(1, tenants - 1), joining))
        elif not lives_in_users(model) and can_be_outside(plan.catalog, model):
            add(natural + 2)
    return tuple(people)


def lives_in_users(model: Model) -> bool:
    """Whether a membership is a row of the users table itself."""
    return (
        model.users is not None
        and model.memberships is not None
        and model.memberships.relation == model.users
    )


def tenant_column_of_users(model: Model) -> str | None:
    """The column of the users table that holds the user's tenant, if there is one."""
    if model.users is None:
        return None
    if model.memberships is not None and model.memberships.relation == model.users:
        return model.memberships.tenant
    ownership = model.owner_of(model.users)
    return ownership.column if ownership.kind is OwnershipKind.COLUMN else None


def can_be_outside(catalog: Catalog, model: Model) -> bool:
    """Whether there can be a user of no tenant."""
    column = tenant_column_of_users(model)
    if model.users is None or column is None:
        return model.memberships is not None
    return nullable(catalog.relations[model.users], column)


def plan_joinings(
    catalog: Catalog, model: Model, deciding: Mapping[str, tuple[str | None, ...]] = {}
) -> tuple[tuple[Joining, ...], tuple[Joining, ...]]:
    """The memberships that each tenant gets, one per kind, and those that are not in force: one
    for each column and value that alone takes the force away.

    After those of the kinds follow some that hold the remaining values of ``deciding`` columns (a
    role that a policy asks for, though no kind is made of it).

    Where the predicates of the kinds are not understood (sub-selects, functions), the memberships
    run through combinations of the values that the predicates name; which kind each of them makes
    is for the server to say.
    """
    memberships = model.memberships
    if memberships is None or memberships.relation not in catalog.relations:
        return (Joining(DEFAULT_KIND, {}),), ()
    relation = catalog.relations[memberships.relation]
    kinds = [k for k in model.kinds if k.source is None] or [Kind(DEFAULT_KIND)]
    predicates = [k.where for k in kinds if k.where is not None]
    if memberships.active is not None:
        predicates.append(memberships.active)
    taken = {memberships.user, memberships.tenant}
    taken |= {c for key in relation.foreign_keys for c in key.columns}
    candidates = _candidates(relation, predicates, taken, deciding)
    breaks = [
        condition_of(relation, f"NOT ({check.expression})")
        for check in relation.checks
        if all(c in candidates for c in check.columns)
    ]
    combinations = [
        values
        for values in itertools.islice(_combinations(candidates), _TRIED)
        if not any(broken(values) is Truth.YES for broken in breaks)
    ] or [{}]
    verdicts = [_Verdict.of(relation, v, kinds, memberships.active) for v in combinations]
    unclear = any(
        verdict.active is Truth.UNKNOWN or Truth.UNKNOWN in verdict.kinds for verdict in verdicts
    )
    if unclear:
        count = min(MOST_JOININGS, max(len(kinds), len(combinations)))
        some = tuple(Joining("", combinations[at % len(combinations)]) for at in range(count))
        return some, _inactive(verdicts)
    made = [
        Joining(kind.name, found.values)
        for at, kind in enumerate(kinds)
        if (found := next((v for v in verdicts if v.is_first(at)), None)) is not None
    ]
    made = made or [Joining(DEFAULT_KIND, {})]
    for column, value in singles_of(deciding):
        if len(made) >= MOST_JOININGS:
            break
        values = {**made[-1].values, column: value}
        verdict = _Verdict.of(relation, values, kinds, memberships.active)
        broken = any(
            condition_of(relation, f"NOT ({check.expression})")(values) is Truth.YES
            for check in relation.checks
        )
        known = any(j.values.get(column) == value for j in made)
        if verdict.active is Truth.YES and column not in taken and not (known or broken):
            made.append(Joining(verdict.kind(kinds), values, further=True))
    return tuple(made), _inactive(verdicts)


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What the predicates say of one combination of values."""

    values: Values
    kinds: tuple[Truth, ...]
    active: Truth

    @classmethod
    def of(
        cls, relation: Relation, values: Values, kinds: Sequence[Kind], active: str | None
    ) -> "_Verdict":
        return cls(
            values,
            tuple(_judge(relation, kind.where, values) for kind in kinds),
            _judge(relation, active, values),
        )

    def kind(self, kinds: Sequence[Kind]) -> str:
        """The first kind that accepts these values, or "" where there is none."""
        hits = (
            k.name for k, verdict in zip(kinds, self.kinds, strict=True) if verdict is Truth.YES
        )
        return next(hits, "")

    def is_first(self, at: int) -> bool:
        """Whether a membership in force with these values is of the kind at this place."""
        return (
            self.active is Truth.YES
            and next((n for n, verdict in enumerate(self.kinds) if verdict is Truth.YES), None)
            == at
        )


def _judge(relation: Relation, predicate: str | None, values: Values) -> Truth:
    if predicate is None:
        return Truth.YES
    return Truth.UNKNOWN if _SUBSELECT.search(predicate) else truth_of(relation, predicate, values)


def _inactive(verdicts: Sequence[_Verdict]) -> tuple[Joining, ...]:
    """Memberships that differ in one column from one that is in force: invited, left, banned each
    in its own way. Where none differs in one column only, the first that is not in force."""
    broken = [v.values for v in verdicts if v.active is Truth.NO]
    whole = [v.values for v in verdicts if v.active is Truth.YES]
    ways: dict[tuple[str, str | None], Values] = {}
    for values in broken:
        for other in whole:
            differing = [c for c in values if values[c] != other.get(c)]
            if len(differing) == 1:
                ways.setdefault((differing[0], values[differing[0]]), values)
                break
    found = list(ways.values()) or broken[:1]
    return tuple(Joining("", values, active=False) for values in found[:_MOST_FORMERS])


def _candidates(
    relation: Relation,
    predicates: Sequence[str],
    taken: set[str],
    deciding: Mapping[str, tuple[str | None, ...]],
) -> dict[str, list[str | None]]:
    """For each column that a predicate reads, values worth trying, the most ordinary first."""
    read: list[str] = []
    named: dict[str, list[str]] = {}
    trees = [t for p in predicates if (t := parse_expression(p)) is not None]
    for tree in trees:
        read += [name for name in _read_columns(tree) if name not in read]
        for literal in literals_of(tree):
            if literal.how == "value":
                named.setdefault(literal.column, []).append(literal.text)
    for check in relation.checks:
        tree_of_check = parse_expression(check.expression)
        for literal in literals_of(tree_of_check) if tree_of_check is not None else ():
            if literal.how == "value" and literal.column in read:
                named.setdefault(literal.column, []).append(literal.text)
    for name in read:
        known = relation.column(name)
        for text in known.type.domain_checks if known is not None else ():
            tree_of_domain = parse_expression(text)
            for literal in literals_of(tree_of_domain) if tree_of_domain is not None else ():
                if literal.how == "value":
                    named.setdefault(name, []).append(literal.text)
    candidates: dict[str, list[str | None]] = {}
    for name in read:
        column = relation.column(name)
        if column is None or name in taken or column.generated:
            continue
        words = () if _is_time(column) else deciding.get(name, ())
        values: list[str | None] = [*_typical(column), *named.get(name, ()), *words]
        free = not relation.checks and not column.type.domain_checks
        if column.type.base in ("text", "varchar", "citext", "bpchar") and free:
            values.append("ordinary")
        if nullable(relation, name):
            # An absent time is the ordinary case (deleted_at); an absent word is not.
            values.insert(0 if _is_time(column) else len(values), None)
        candidates[name] = list(dict.fromkeys(values)) or [None]
    return {name: values for name, values in candidates.items() if values != [None]}


def _read_columns(tree: object) -> Iterator[str]:
    from sqlglot import exp

    if isinstance(tree, exp.Expression):
        for column in tree.find_all(exp.Column):
            yield column.name


def _is_time(column: Column) -> bool:
    return column.type.base in ("timestamptz", "timestamp", "date")


def _typical(column: Column) -> list[str]:
    if column.type.category is TypeCategory.ENUM:
        return list(column.type.labels)
    if column.type.base == "bool":
        return ["true", "false"] if "true" in (column.default or "") else ["false", "true"]
    if _is_time(column):
        width = 10 if column.type.base == "date" else 19 if column.type.base == "timestamp" else 22
        return (
            [_FUTURE[:width], _PAST[:width]] if "expire" in column.name.lower() else [_PAST[:width]]
        )
    return []


def _combinations(
    candidates: Mapping[str, Sequence[str | None]],
) -> Iterator[dict[str, str | None]]:
    names = list(candidates)
    for values in itertools.product(*candidates.values()):
        yield dict(zip(names, values, strict=True))


def made_up_user(catalog: Catalog, model: Model, number: int) -> str:
    """An id for a user that no table holds, of the type of the column that memberships name."""
    memberships = model.memberships
    relation = catalog.relations.get(memberships.relation) if memberships is not None else None
    column = relation.column(memberships.user) if relation and memberships else None
    base = column.type.base if column is not None else "text"
    if base == "uuid":
        return uuid_text(number, 7)
    if base in ("int2", "int4", "int8", "numeric"):
        return str(1001 + number)
    return f"user-{number + 1}"
