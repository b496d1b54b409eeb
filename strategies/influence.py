"""Which relations decide what is visible in others: what policies and their functions read."""

import re
from collections.abc import Mapping, Sequence

from tenantfuzz.policies.structure import Catalog, RelationName

SETTING = re.compile(
    r"\bset_config\b|\bset\s+(local|session)\b|"
    r"\b(alter|create|drop)\s+(role|user|policy|table|function)\b|\b(grant|revoke)\b",
    re.IGNORECASE,
)
"""What changes the session, or who may do what, in a function's body."""
_DEPTH = 3  # functions that call functions


def influential_relations(catalog: Catalog) -> frozenset[RelationName]:
    """The relations named in policies of other relations, or in functions that policies call."""
    policies = {
        name: [t for p in relation.policies for t in (p.using, p.check) if t]
        for name, relation in catalog.relations.items()
    }
    return _named(catalog, policies)


def shadowable_relations(catalog: Catalog) -> frozenset[RelationName]:
    """The relations that policies' functions or triggers name without their schema: which table
    that is depends on the search_path, if the function does not set it."""
    texts: list[str] = []
    for relation in catalog.relations.values():
        policies = [t for p in relation.policies for t in (p.using, p.check) if t]
        texts += [*_called(catalog, policies), *(t.source for t in relation.triggers)]
        texts += _called(catalog, [t.source for t in relation.triggers])
    spoken = "\n".join(texts)
    return frozenset(name for name in catalog.relations if _bare(name.name).search(spoken))


def _bare(name: str) -> re.Pattern[str]:
    """The name with no schema before it, quoted or not."""
    escaped = re.escape(name)
    return re.compile(rf'(?<![.\w"]){escaped}\b|(?<!\.)"{escaped}"')


def stirring_relations(catalog: Catalog) -> frozenset[RelationName]:
    """The relations whose triggers change the session, roles, grants, policies or tables."""
    return frozenset(
        name
        for name, relation in catalog.relations.items()
        if any(SETTING.search(t.source) for t in relation.triggers)
    )


def _named(
    catalog: Catalog, texts: Mapping[RelationName, Sequence[str]]
) -> frozenset[RelationName]:
    """The relations whose names stand in the texts of others, or in functions called there."""
    found: set[RelationName] = set()
    for name, own in texts.items():
        words = _words([*own, *_called(catalog, own)])
        found |= {n for n in catalog.relations if n != name and n.name.lower() in words}
    return frozenset(found)


def _called(catalog: Catalog, texts: Sequence[str]) -> list[str]:
    """The bodies of the functions that these texts call, and of those that they call."""
    bodies = {f.name.name.lower(): f.source for f in catalog.functions}
    words, found = _words(texts), list[str]()
    for _ in range(_DEPTH):
        called = [bodies[w] for w in sorted(words) if w in bodies]
        found += [body for body in called if body not in found]
        words |= _words(called)
    return found


def _words(texts: Sequence[str]) -> set[str]:
    return {w.lower() for t in texts for w in re.findall(r"[A-Za-z_]\w*", t)}
