"""Decides once how a schema is populated: what, in which order, from which values."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace

from tenantfuzz.policies.model import Model, OwnershipKind
from tenantfuzz.policies.structure import Catalog, Relation, RelationName, TypeCategory
from tenantfuzz.policies.world import Values
from tenantfuzz.strategies.building import Builder
from tenantfuzz.strategies.dictionary import Dictionary
from tenantfuzz.strategies.influence import shadowable_relations, stirring_relations
from tenantfuzz.strategies.members import plan_joinings
from tenantfuzz.strategies.ordering import arrange, links_of, nullable
from tenantfuzz.strategies.partitions import partition_leaves
from tenantfuzz.strategies.picking import SeededPick, SimplestPick
from tenantfuzz.strategies.plan import POPULATED_KINDS, Link, Plan, Unpopulated
from tenantfuzz.strategies.pointers import roving_columns, tenant_pointers
from tenantfuzz.strategies.populating import Decision, Populator, Shape
from tenantfuzz.strategies.soft_links import with_soft_links
from tenantfuzz.strategies.text import HIDDEN_TIMES, snake

__all__ = ["Plan", "Unpopulated", "plan_population"]

_SHARED = OwnershipKind.SHARED
_CYCLED = 6  # values of one deciding column that rows run through
_PAST = {"date": "2024-01-20", "timestamp": "2024-01-20 12:00:00"}


def plan_population(
    catalog: Catalog,
    model: Model,
    *,
    existing: Mapping[RelationName, tuple[Values, ...]] = {},
    dictionary: Dictionary | None = None,
    overrides: Mapping[str, Sequence[str]] = {},
    variants: Mapping[RelationName, int] = {},
    skip: Mapping[RelationName, str] = {},
) -> Plan:
    """Plan how worlds are made for a catalog under a model.

    ``existing`` are rows that the schema itself inserted; ``overrides`` values by ``table.column``
    or ``schema.table.column``; ``variants`` how often rows of a relation were refused; ``skip``
    relations that stay empty, with the reason. What cannot be populated stands in ``unpopulated``
    of the result with the reason: also what turns out to have no valid row when tried.
    """
    candidates = {
        name: links_of(catalog, model, name)
        for name, relation in catalog.relations.items()
        if relation.kind in POPULATED_KINDS and not relation.is_partition
    }
    candidates = with_soft_links(candidates, catalog, model, dictionary)
    failed = {name: reason for name, reason in skip.items() if name in candidates}
    wanted = [n for n in candidates if model.owner_of(n).kind is not OwnershipKind.UNCLASSIFIED] + [
        n for n in _about_people(model) if n in candidates
    ]
    plan = Plan(
        catalog,
        model,
        (),
        existing,
        dictionary,
        overrides,
        variants,
        {},
        candidates,
        _by_relation(catalog, overrides),
        {n: leaves for n in candidates if (leaves := partition_leaves(catalog, n))},
        {n: c for n in candidates if (c := _cycling(catalog, model, candidates, n, dictionary))},
        pointers={
            n: tenant_pointers(catalog, model, dictionary, catalog.relations[n]) for n in candidates
        },
        roving=frozenset(
            (n, column)
            for n in candidates
            if n != model.tenants
            for column in roving_columns(catalog, model, dictionary, catalog.relations[n])
        ),
        shadowable=shadowable_relations(catalog),
        stirring=stirring_relations(catalog),
    )
    memberships = model.memberships.relation if model.memberships is not None else None
    deciding = plan.cycling.get(memberships, {}) if memberships is not None else {}
    joinings, formers = plan_joinings(catalog, model, deciding)
    plan = replace(plan, joinings=joinings, formers=formers, values=_tenant_keys(plan))
    while True:
        plan = _arranged(plan, _needed(wanted, candidates), failed)
        found = _without_rows(plan)
        if not found:
            return plan
        failed |= found


def _about_people(model: Model) -> list[RelationName]:
    memberships = model.memberships.relation if model.memberships is not None else None
    return [n for n in (model.tenants, model.users, memberships) if n is not None]


def _needed(
    wanted: Sequence[RelationName], links: Mapping[RelationName, tuple[Link, ...]]
) -> set[RelationName]:
    """``wanted``, and all that their rows cannot do without."""
    needed: set[RelationName] = set()
    stack = list(wanted)
    while stack:
        name = stack.pop()
        if name not in needed:
            needed.add(name)
            stack += [k.key.target for k in links[name] if k.hard and k.key.target in links]
    return needed


def _arranged(plan: Plan, names: set[RelationName], failed: Mapping[RelationName, str]) -> Plan:
    """The plan with an order and links for ``names``, without those that failed or that need
    something that cannot be had."""
    reasons = dict(failed)
    stocked = frozenset(n for n, rows in plan.existing.items() if rows)
    basis = with_soft_links(
        {n: links_of(plan.catalog, plan.model, n) for n in plan.links},
        plan.catalog,
        plan.model,
        plan.dictionary,
    )
    while True:
        for name in sorted(names - reasons.keys()):
            lacking = next((k for k in basis[name] if _lacks(plan, k, reasons, stocked)), None)
            if lacking is not None:
                reasons[name] = _lack(plan, lacking, reasons)
                break
        else:
            arrangement = arrange(
                names - reasons.keys(),
                basis,
                first=_about_people(plan.model),
                stocked=stocked,
            )
            if not arrangement.failed:
                break
            # Only the cycle itself is named; what depends on it is found to lack a row next.
            cyclic = {n: r for n, r in arrangement.failed.items() if "cycle" in r}
            reasons |= cyclic or arrangement.failed
    return replace(
        plan,
        order=arrangement.order,
        links={**basis, **arrangement.links},
        unpopulated=reasons,
    )


def _lacks(
    plan: Plan,
    link: Link,
    reasons: Mapping[RelationName, str],
    stocked: frozenset[RelationName],
) -> bool:
    """Whether a reference that cannot be NULL has nothing to point at."""
    target = link.key.target
    if not link.hard or target in stocked:
        return False
    if not link.key.declared and target not in plan.links:
        return False  # it points at a view, say: nothing checks it
    return target in reasons or target not in plan.links


def _lack(plan: Plan, link: Link, reasons: Mapping[RelationName, str]) -> str:
    target = link.key.target
    if target in reasons:
        why = f"is not populated: {reasons[target]}"
    elif target not in plan.catalog.relations:
        why = "was not found in the catalog"
    elif plan.catalog.relations[target].is_partition:
        why = "is a partition, and rows are made for whole tables only"
    else:
        why = f"is a {plan.catalog.relations[target].kind}"
    return f"needs a row of {target}, which {why}"


def _without_rows(plan: Plan) -> dict[RelationName, str]:
    """Relations for which trial worlds have no row, with the reason."""
    missing: dict[RelationName, str] = {}
    for trial in range(2):
        pick = SeededPick(random.Random(trial)) if trial else SimplestPick()
        builder = Builder(plan, pick)
        Populator(builder, Shape(tenants=2, rows=1), lambda name: Decision()).world()
        found = {
            name: builder.failures[name]
            for name in plan.order
            if name in builder.failures and not builder.stock.records.get(name)
        }
        missing = found if not trial else {n: r for n, r in missing.items() if n in found}
        if not missing:
            break
    # What failed for want of a parent is judged again once the parent's own reason is known.
    roots = {
        n: r
        for n, r in missing.items()
        if not any(k.hard and k.key.target in missing and k.key.target != n for k in plan.links[n])
    }
    return roots or missing


def _by_relation(
    catalog: Catalog, overrides: Mapping[str, Sequence[str]]
) -> dict[RelationName, dict[str, tuple[str, ...]]]:
    found: dict[RelationName, dict[str, tuple[str, ...]]] = {}
    for path, values in overrides.items():
        table, _, column = path.rpartition(".")
        name = catalog.find(table)
        if name is not None and values:
            found.setdefault(name, {})[column] = tuple(values)
    return found


def _tenant_keys(plan: Plan) -> Mapping[RelationName, Mapping[str, tuple[str, ...]]]:
    """The values by column, with those for the tenants' key where partitions by tenant exist for
    some tenants only."""
    model = plan.model
    if model.tenants is None or model.tenant_key is None:
        return plan.values
    for name, leaves in plan.leaves.items():
        column = model.owner_of(name).column
        if model.owner_of(name).kind is OwnershipKind.COLUMN and column is not None:
            keys = tuple(dict.fromkeys(leaf[column] for leaf in leaves if column in leaf))
            whole = all(column in leaf for leaf in leaves)
            if keys and whole:
                given = {model.tenant_key: keys, **plan.values.get(model.tenants, {})}
                return {**plan.values, model.tenants: given}
    return plan.values


def _cycling(
    catalog: Catalog,
    model: Model,
    links: Mapping[RelationName, tuple[Link, ...]],
    name: RelationName,
    dictionary: Dictionary | None,
) -> dict[str, tuple[str | None, ...]]:
    """Values that the deciding columns of a relation run through."""
    if dictionary is None:
        return {}
    relation = catalog.relations[name]
    keys = {c for key in model.foreign_keys(catalog, name) for c in key.columns}
    keys |= {c for link in links[name] for c in link.key.columns}
    keys |= {c for u in relation.uniques if u.primary for c in u.columns}
    keys |= set(relation.partition_key) | {model.owner_of(name).column or ""}
    # Which row of a shared list it names may decide as well: a bucket, a plan, a status.
    shared = {
        link.key.columns[0]
        for link in links[name]
        if len(link.key.columns) == 1 and model.owner_of(link.key.target).kind is _SHARED
    }
    found: dict[str, tuple[str | None, ...]] = {}
    for column in sorted(dictionary.deciding_columns(relation) - (keys - shared)):
        words = dictionary.for_column(relation, column)
        values = words if column in shared else _values_of(relation, column, dictionary)
        if values:
            found[column] = values[:_CYCLED]
    return found


def _values_of(relation: Relation, name: str, dictionary: Dictionary) -> tuple[str | None, ...]:
    column = relation.column(name)
    if column is None or column.generated:
        return ()
    values: list[str | None] = list(dictionary.for_column(relation, name))
    if column.type.category is TypeCategory.ENUM:
        values += column.type.labels
    elif column.type.base == "bool":
        values += ["false", "true"]
    elif column.type.base in ("timestamptz", "timestamp", "date") and nullable(relation, name):
        # Rows that are deleted, revoked, expired: NULL is the ordinary value. Of other times (when
        # something was sent, paid, published) NULL is the one that decides.
        if (relation.name, name) in dictionary.nulls and not HIDDEN_TIMES.search(snake(name)):
            values.insert(0, None)
        values.append(_PAST.get(column.type.base, "2024-01-20 12:00:00+00"))
    elif (relation.name, name) in dictionary.nulls and nullable(relation, name):
        values.insert(0, None)
    return tuple(dict.fromkeys(values))
