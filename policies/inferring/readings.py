"""Readings: what a policy reads of the session, and what it compares that with."""

from dataclasses import dataclass

from tenantfuzz.policies.structure import RelationName

ROLE = ""
"""The ``setting`` of a source that is the role itself (``current_user``)."""


@dataclass(frozen=True, slots=True)
class Source:
    """A value of the session: a setting, a ``path`` into a JSON setting, or the role.

    ``plural`` says how it holds several values: "" (it does not), "csv", "array", "json", "keys".
    """

    setting: str
    path: tuple[str, ...] = ()
    plural: str = ""

    def __str__(self) -> str:
        if self.setting == ROLE:
            return "current_user"
        return self.setting + "".join(f" -> {key}" for key in self.path)


@dataclass(frozen=True, slots=True)
class Place:
    """A column of a relation."""

    relation: RelationName
    column: str


@dataclass(frozen=True, slots=True)
class Match:
    """A column that is compared with a value of the session. Comparisons in one query (or at the
    top of one policy) have the same ``query``."""

    place: Place
    source: Source
    query: int


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition of a query on the columns of one relation and constants alone."""

    relation: RelationName
    sql: str
    columns: tuple[str, ...]
    query: int


@dataclass(frozen=True, slots=True)
class Alternative:
    """One of the reasons for which a permissive policy shows a row: an operand of its OR.

    ``plain``: it reads the row's own columns and nothing else; ``picks``: it picks rows by a value
    that they have; ``asks``: it depends on who asks; ``opens``: inside, it has an alternative of
    its own that speaks of what is public. ``spoken`` are the words of its columns and constants,
    ``columns`` the columns, ``relations`` what its queries read, ``decided`` the columns of any row
    that the session decides about, ``own`` those of the very row; ``ties`` are columns of the very
    row with what they are compared with in other relations.
    """

    sql: str
    plain: bool
    picks: bool
    asks: bool
    opens: bool
    spoken: frozenset[str]
    columns: frozenset[str]
    relations: frozenset[RelationName]
    decided: frozenset[Place]
    own: frozenset[Place]
    ties: frozenset[tuple[str, Place]]


@dataclass(frozen=True, slots=True)
class Reading:
    """What one policy, with the functions that it calls, reads of the session.

    ``lookups`` are columns that are compared with what a query finds in another column;
    ``shows_null`` are columns whose rows without a value the policy shows, whoever asks;
    ``alternatives`` are why it shows rows, where it does.
    """

    relation: RelationName
    policy: str
    matches: tuple[Match, ...] = ()
    sources: frozenset[Source] = frozenset()
    lookups: tuple[tuple[Place, Place], ...] = ()
    conditions: tuple[Condition, ...] = ()
    shows_null: frozenset[str] = frozenset()
    alternatives: tuple[Alternative, ...] = ()
    constants: tuple[tuple[Source, str], ...] = ()
