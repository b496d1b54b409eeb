"""Which relations decide what is visible in others: what policies and their functions read."""

import re

from tenantfuzz.policies.structure import Catalog, RelationName

_DEPTH = 3  # functions that call functions


def influential_relations(catalog: Catalog) -> frozenset[RelationName]:
    """The relations named in policies of other relations, or in functions that policies call."""
    bodies = {f.name.name.lower(): f.source for f in catalog.functions}
    found: set[RelationName] = set()
    for name, relation in catalog.relations.items():
        texts = [t for p in relation.policies for t in (p.using, p.check) if t]
        words = _words(texts)
        for _ in range(_DEPTH):
            called = [bodies[w] for w in words if w in bodies]
            words |= _words(called)
        found |= {n for n in catalog.relations if n != name and n.name.lower() in words}
    return frozenset(found)


def _words(texts: list[str]) -> set[str]:
    return {w.lower() for t in texts for w in re.findall(r"[A-Za-z_]\w*", t)}
