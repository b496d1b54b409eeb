"""Takes out of a configuration what speaks of relations that could not be copied."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from tenantfuzz.live.restoration import LostKey
from tenantfuzz.policies.configuration import Configuration, OperationAccess, TableEntry, Widening
from tenantfuzz.policies.structure import Catalog, RelationName

_ELSEWHERE: Final = re.compile(r"->\s*(?P<relation>.+)\.[^.]+$")


@dataclass(slots=True)
class Pruned:
    """What is left of a configuration, and the relations that it no longer speaks of in full: they
    are there, and cannot be judged."""

    configuration: Configuration
    doubts: dict[RelationName, str] = field(default_factory=dict)


def prune(
    configuration: Configuration,
    catalog: Catalog,
    absent: frozenset[RelationName],
    lost_keys: tuple[LostKey, ...],
) -> Pruned:
    """``configuration`` without what it says of ``absent`` relations, or through them.

    What the model cannot do without (the tenants, the memberships) is left for its resolution to
    complain of.
    """
    pruned = Pruned(configuration)
    if absent:
        pruner = _Pruner(catalog, absent, lost_keys, pruned.doubts)
        pruned.configuration = pruner.prune(configuration)
    return pruned


@dataclass(slots=True)
class _Pruner:
    catalog: Catalog
    absent: frozenset[RelationName]
    lost_keys: tuple[LostKey, ...]
    doubts: dict[RelationName, str]

    def prune(self, configuration: Configuration) -> Configuration:
        tenancy = configuration.tenancy
        tables = {
            text: entry
            for text, entry in tenancy.tables.items()
            if not (self._is_absent(text) or self._leads_nowhere(text, entry))
        }
        references = tuple(r for r in tenancy.references if not self._refers(r))
        changed = {
            "tenancy": tenancy.model_copy(update={"tables": tables, "references": references}),
            "access": {k: self._access(rules) for k, rules in configuration.access.items()},
            "values": {
                key: values
                for key, values in configuration.values.items()
                if not self._is_absent(key.rpartition(".")[0])
            },
        }
        audit = configuration.audit
        if audit is not None and self._is_absent(audit.table):
            changed["audit"] = None
        return configuration.model_copy(update=changed)

    def _is_absent(self, text: str) -> bool:
        """Whether ``text`` names a relation that is not there, and none that is."""
        named = any(text in (str(name), name.name) for name in self.absent)
        return named and self.catalog.find(text) is None

    def _leads_nowhere(self, text: str, entry: object) -> bool:
        if not isinstance(entry, TableEntry):
            return False
        if entry.sql is not None and (name := self._mentioned(entry.sql)) is not None:
            return self._doubt(text, f"the query for its owner reads {name}")
        for way in entry.via or ():
            match = _ELSEWHERE.search(way)
            if match is not None and self._is_absent(match["relation"].strip()):
                return self._doubt(text, f"its way leads to {match['relation'].strip()}")
            for key in self.lost_keys:
                if key.relation == self.catalog.find(text) and way.strip() in key.columns:
                    return self._doubt(text, f"its way leads to {key.target}")
        return False

    def _refers(self, reference: str) -> bool:
        ends = [end.strip().rpartition(".")[0] for end in reference.split("->")]
        return any(self._is_absent(end) for end in ends)

    def _access(self, rules: Mapping[str, object]) -> dict[str, object]:
        kept = {}
        for text, access in rules.items():
            if self._is_absent(text):
                continue
            name = next((n for rule in _predicates(access) if (n := self._mentioned(rule))), None)
            if name is not None:
                self._doubt(text, f"a rule on it reads {name}")
                continue
            kept[text] = access
        return kept

    def _mentioned(self, sql: str) -> RelationName | None:
        """An absent relation that ``sql`` speaks of; a word too many only costs a test."""
        for name in self.absent:
            if re.search(rf"(?<![\w:.]){re.escape(name.name)}(?![\w(])", sql) or str(name) in sql:
                return name
        return None

    def _doubt(self, text: str, reason: str) -> bool:
        found = self.catalog.find(text)
        if found is not None:
            self.doubts.setdefault(found, f"{reason}, which could not be copied")
        return True


def _predicates(access: object) -> list[str]:
    if not isinstance(access, OperationAccess):
        return []
    rules = (access.select, access.insert, access.update, access.delete)
    return [
        rule.any if isinstance(rule, Widening) else rule
        for rule in rules
        if isinstance(rule, str | Widening)
    ]
