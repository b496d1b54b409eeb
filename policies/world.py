"""A world: one generated dataset, as values that any loader can insert."""

from collections.abc import Mapping
from dataclasses import dataclass

from tenantfuzz.policies.structure import RelationName

Values = Mapping[str, str | None]
"""Column name to PostgreSQL input text, or None for NULL. Columns left out take their default."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row to insert. ``tenant`` is the tenant it was made for (None: nobody's), ``canary`` the
    token that only this row holds ("" where no column could hold one)."""

    relation: RelationName
    values: Values
    tenant: str | None = None
    canary: str = ""


@dataclass(frozen=True, slots=True)
class Fixup:
    """The second step for a cycle of foreign keys: after all inserts, set ``values`` on the row of
    ``relation`` whose columns equal ``key``."""

    relation: RelationName
    key: Values
    values: Values


@dataclass(frozen=True, slots=True)
class World:
    """Rows in the order in which they can be inserted, then fix-ups.

    ``tenants`` are tenant ids as text, ``users`` user ids as text; the first tenant comes first in
    every way: it is the one whose members attack by preference.
    """

    rows: tuple[Row, ...]
    fixups: tuple[Fixup, ...] = ()
    tenants: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
