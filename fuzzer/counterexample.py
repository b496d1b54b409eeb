"""Counterexamples: a finding made minimal, as values that can be saved, reviewed and replayed."""

from dataclasses import dataclass

from tenantfuzz.findings import Finding
from tenantfuzz.policies.principals import Principal
from tenantfuzz.policies.structure import RelationName
from tenantfuzz.policies.world import World

CODE = "application code"
"""The shape of a step that is no SQL but a call of the application's code."""


@dataclass(frozen=True, slots=True)
class Step:
    """One statement of a principal: the door that it names, the operation, its text.

    ``shape`` says how it is written (``update without where``), for people and for coverage.
    A call of an application query has the operation ``query``, the query's name under the schema
    ``query``, and the ``arguments`` that were drawn: it is replayed with the query's text of then.
    """

    relation: RelationName
    operation: str  # select, insert, update, delete, query
    sql: str
    shape: str = ""
    arguments: tuple[tuple[str, str | None], ...] = ()


@dataclass(frozen=True, slots=True)
class Witness:
    """What shows a leak: a world, who acts in it, and the steps, the last of which leaks."""

    world: World
    principal: Principal
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Counterexample:
    """A saved witness with its finding and what it was found on."""

    finding: Finding
    witness: Witness
    target: str
    target_hash: str
    server_version: str
