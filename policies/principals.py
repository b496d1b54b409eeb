"""Principals: the identities that can act in a world, derived from its memberships."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from tenantfuzz.policies.model import DEFAULT_KIND


class HostileKind(StrEnum):
    """Kinds that no membership makes."""

    DUAL = "dual"
    OUTSIDER = "outsider"
    FORMER = "former"
    ANONYMOUS = "anonymous"
    UNSET = "unset"
    EMPTY = "empty"
    RESIDUAL = "residual"
    MALFORMED = "malformed"
    CLAIM = "claim"


CONTEXT_FREE = frozenset({HostileKind.UNSET, HostileKind.EMPTY, HostileKind.RESIDUAL})
"""Kinds whose leaks are reported as "identity unset, empty or remaining" (TF108)."""


class Freshness(StrEnum):
    """What the connection must have been through before the principal acts."""

    ANY = "any"
    NEVER_SET = "never set"  # no identity setting was ever used on the connection
    COMMITTED = "committed"  # another identity was set locally in a transaction that committed
    ROLLED_BACK = "rolled back"


@dataclass(frozen=True, slots=True)
class Membership:
    """A membership in force, with the kind that it makes its user in that tenant."""

    tenant: str
    kind: str = DEFAULT_KIND


@dataclass(frozen=True, slots=True)
class Principal:
    """An identity that can act.

    ``kind`` names its cells. ``memberships`` are those that the prediction counts: all of the
    user's, or the active one under scope ``active``. ``all_tenants`` are the tenants of all of the
    user's memberships in force, whatever the scope. ``settings`` are rendered values, in order.
    ``earlier`` are the settings of the transaction before, where ``freshness`` asks for one.
    """

    kind: str
    user: str | None = None
    tenant: str | None = None  # the tenant that the session names, or the only one
    memberships: tuple[Membership, ...] = ()
    all_tenants: frozenset[str] = frozenset()
    role: str | None = None
    login: str | None = None
    settings: tuple[tuple[str, str], ...] = ()
    statements: tuple[str, ...] = ()
    freshness: Freshness = Freshness.ANY
    earlier: tuple[tuple[str, str], ...] = ()
    note: str = ""  # what is special about it, for people: "the claims are not JSON"

    @property
    def tenants(self) -> frozenset[str]:
        """The tenants whose rows the prediction counts as the principal's."""
        return frozenset(m.tenant for m in self.memberships)

    @property
    def hostile(self) -> bool:
        """Whether the principal is none that a membership of its own makes."""
        return self.kind in set(HostileKind) - {HostileKind.DUAL}

    @property
    def acting_role(self) -> str | None:
        """The role in force when it acts: the role set, else the login."""
        return self.role or self.login


@dataclass(frozen=True, slots=True)
class MembershipFact:
    """One row of the memberships relation as the trusted role sees it."""

    user: str
    tenant: str
    kind: str
    active: bool
    attributes: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Population:
    """Who is there in a world: what principals are derived from.

    Attributes are columns as text; ``id`` is always there.
    """

    tenants: Mapping[str, Mapping[str, str | None]]
    users: Mapping[str, Mapping[str, str | None]]
    memberships: Sequence[MembershipFact]
    has_users: bool


def attributes_of(
    population: Population,
    *,
    user: str | None,
    tenant: str | None,
    membership: MembershipFact | None = None,
    extra: Mapping[str, str | None] | None = None,
) -> dict[str, str | None]:
    """The template attributes ``user.*``, ``tenant.*`` and ``membership.*`` of one identity."""
    attributes: dict[str, str | None] = {}
    if user is not None:
        attributes |= {f"user.{k}": v for k, v in population.users.get(user, {}).items()}
        attributes["user.id"] = user
    if tenant is not None:
        attributes |= {f"tenant.{k}": v for k, v in population.tenants.get(tenant, {}).items()}
        attributes["tenant.id"] = tenant
    if membership is not None:
        attributes |= {f"membership.{k}": v for k, v in membership.attributes.items()}
    return attributes | dict(extra or {})
