"""Pointers: columns that policies read and that hold the id of a tenant, the row's own or not."""

import re

from tenantfuzz.policies.model import Model
from tenantfuzz.policies.structure import Catalog, Relation
from tenantfuzz.strategies.dictionary import Dictionary

_WORDS = re.compile(r"[a-z]+")
_COMMON = frozenset({"id", "ids", "key", "uuid", "code", "no", "number", "ref"})


def tenant_pointers(
    catalog: Catalog, model: Model, dictionary: Dictionary | None, relation: Relation
) -> tuple[str, ...]:
    """The columns of ``relation`` that policies or their functions read, of the type of the
    tenants' key, and that no constraint ties to any relation: ``profiles.current_org``.

    Such a column decides whose rows are seen, and nothing but its type says so. Where many columns
    have that type (text, numbers), its name must share a word with the tenants' own.
    """
    if dictionary is None:
        return ()
    base, names = "text", set[str]()
    if model.tenants is not None:
        key = catalog.relations[model.tenants].column(model.tenant_key or "")
        base = key.type.base if key is not None else base
        names = _words(model.tenants.name) | _words(model.tenant_key or "")
    names |= {w for o in model.ownership.values() if o.column for w in _words(o.column)}
    bound = {c for fk in model.foreign_keys(catalog, relation.name) for c in fk.columns}
    ownership = model.owner_of(relation.name)
    bound |= {c for way in ownership.ways for c in way.columns} | {ownership.column or ""}
    memberships = model.memberships
    if memberships is not None and memberships.relation == relation.name:
        bound |= {memberships.user, memberships.tenant}
    if relation.primary_key is not None:
        bound |= set(relation.primary_key.columns)
    return tuple(
        c.name
        for c in relation.columns
        if c.name in dictionary.policy_columns(relation)
        and c.type.base == base
        and c.name not in bound
        and not c.generated
        and not dictionary.for_column(relation, c.name)
        and (base == "uuid" or any(_alike(w, n) for w in _words(c.name) for n in names))
    )


def roving_columns(
    catalog: Catalog, model: Model, dictionary: Dictionary | None, relation: Relation
) -> tuple[str, ...]:
    """The columns of ``relation`` that name a tenant by a foreign key without saying whose the row
    is, and that policies read: ``blocks.blocked_company_id``.

    A column that goes by the name of an owner column elsewhere is taken for a copy of the owner.
    """
    if dictionary is None:
        return ()
    ownership = model.owner_of(relation.name)
    owning = {o.column for o in model.ownership.values()} | {ownership.column}
    owning |= {c for way in ownership.ways for c in way.columns}
    memberships = model.memberships
    if memberships is not None:
        owning.add(memberships.tenant)
        if memberships.relation == relation.name:
            return ()
    return tuple(
        fk.columns[0]
        for fk in model.foreign_keys(catalog, relation.name)
        if fk.target == model.tenants
        and len(fk.columns) == 1
        and fk.columns[0] not in owning
        and fk.columns[0] in dictionary.policy_columns(relation)
    )


def _words(name: str) -> set[str]:
    return set(_WORDS.findall(name.lower())) - _COMMON


def _alike(word: str, name: str) -> bool:
    """Whether one begins with the other: org, orgs, organization."""
    return len(min(word, name, key=len)) > 2 and (word.startswith(name) or name.startswith(word))
