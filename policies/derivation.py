"""Derives every principal that a world has: its members, and the hostile ones."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from tenantfuzz.policies.model import Context, Identity, Kind, Model, Scope, SqlTemplate
from tenantfuzz.policies.placeholders import (
    Binding,
    is_json_template,
    render_template,
    template_words,
    uses_placeholder,
)
from tenantfuzz.policies.principals import (
    Freshness,
    HostileKind,
    Membership,
    MembershipFact,
    Population,
    Principal,
    attributes_of,
)

ResolveSql = Callable[[str, Binding], str | None]
"""Runs a query of the configuration as the trusted role and returns its single value as text."""


def derive_principals(
    model: Model, population: Population, *, resolve: ResolveSql
) -> tuple[Principal, ...]:
    """All principals of a world, ordinary members first, in a stable order.

    ``resolve`` answers settings and roles that are declared as SQL.
    """
    return tuple(_Deriver(model, population, resolve).all())


def names_tenant(model: Model) -> bool:
    """Whether identity tells the session the tenant, and not the user alone."""
    identity = model.identity
    values = [*(t for kind in model.kinds for t in kind.settings.values())]
    values += [*identity.settings.values(), *([identity.role] if identity.role else [])]
    return any(
        uses_placeholder(v.sql, "tenant")
        if isinstance(v, SqlTemplate)
        else any(w.startswith(("tenant.", "membership.")) for w in template_words(v))
        for v in values
    )


class _Deriver:
    def __init__(self, model: Model, population: Population, resolve: ResolveSql) -> None:
        self._model = model
        self._population = population
        self._resolve = resolve
        self._kinds = {k.name: k for k in model.kinds}
        self._active = [m for m in population.memberships if m.active]
        self._tenants = tuple(population.tenants)
        # Kinds may add settings of their own to those of everybody.
        kinds = [*model.kinds[::-1]]
        self._templates = {n: t for kind in kinds for n, t in kind.settings.items()}
        self._templates |= model.identity.settings

    def all(self) -> Iterator[Principal]:
        if not self._population.has_users:
            members = [self._of_tenant(t) for t in self._tenants]
        else:
            by_user = self._by_user()
            members = list(self._members(by_user))
            members += self._dual(by_user)
        yield from members
        if self._population.has_users:
            yield from self._outsiders()
            yield from self._former()
            yield from self._strayed(members)
        yield from self._anonymous()
        if members and self._templates:
            yield from self._context_free(members[0])
            for member in _one_of_each(members):
                yield from self._partial(member)
                yield from self._malformed(member)
            if self._model.identity.user_claims and len(self._tenants) > 1:
                yield from self._claims(members[0])

    # Members

    def _by_user(self) -> dict[str, list[MembershipFact]]:
        by_user: dict[str, list[MembershipFact]] = {}
        for fact in self._active:
            by_user.setdefault(fact.user, []).append(fact)
        return by_user

    def _members(self, by_user: Mapping[str, list[MembershipFact]]) -> Iterator[Principal]:
        for user, facts in by_user.items():
            tenants = {f.tenant for f in facts}
            if len(tenants) > 1:
                continue
            for fact in facts:
                yield self._member(fact.kind, user, fact, facts)

    def _dual(self, by_user: Mapping[str, list[MembershipFact]]) -> Iterator[Principal]:
        for user, facts in by_user.items():
            if len({f.tenant for f in facts}) > 1:
                active_only = self._model.scope is Scope.ACTIVE
                for fact in facts if active_only or self._names_tenant() else facts[:1]:
                    others = [f for f in facts if f is not fact]
                    note = ""
                    if any(f.kind != fact.kind for f in others):
                        there = ", ".join(f"{f.kind} of tenant {f.tenant}" for f in others)
                        note = f"{fact.kind} of tenant {fact.tenant} and {there}"
                    yield self._member(HostileKind.DUAL, user, fact, facts, note)

    def _member(
        self,
        kind: str,
        user: str,
        fact: MembershipFact,
        facts: list[MembershipFact],
        note: str = "",
    ) -> Principal:
        scoped = [fact] if self._model.scope is Scope.ACTIVE else facts
        return self._principal(
            kind,
            self._kinds.get(fact.kind),
            user=user,
            tenant=fact.tenant,
            membership=fact,
            memberships=tuple(Membership(f.tenant, f.kind) for f in scoped),
            all_tenants=frozenset(f.tenant for f in facts),
            note=note,
        )

    def _of_tenant(self, tenant: str) -> Principal:
        kind = self._model.kinds[-1]
        return self._principal(
            kind.name,
            kind,
            user=None,
            tenant=tenant,
            memberships=(Membership(tenant, kind.name),),
            all_tenants=frozenset({tenant}),
        )

    def _names_tenant(self) -> bool:
        return names_tenant(self._model)

    # Hostile kinds

    def _foreign_tenants(self, own: frozenset[str]) -> tuple[str | None, ...]:
        """The tenants that one who is no member arrives with: none, or also a foreign one."""
        if self._model.identity.context is Context.CHOSEN and self._names_tenant():
            foreign = next((t for t in self._tenants if t not in own), None)
            return (None, foreign) if foreign is not None else (None,)
        return (None,)

    def _outsiders(self) -> Iterator[Principal]:
        known = {m.user for m in self._population.memberships}
        for user in [u for u in self._population.users if u not in known][:1]:
            for tenant in self._foreign_tenants(frozenset()):
                note = f"no member of any tenant, names tenant {tenant}" if tenant else ""
                yield self._principal(
                    HostileKind.OUTSIDER, None, user=user, tenant=tenant, note=note
                )

    def _former(self) -> Iterator[Principal]:
        active = {m.user for m in self._active}
        seen: set[str] = set()
        for fact in self._population.memberships:
            if fact.active or fact.user in active or fact.user in seen:
                continue
            seen.add(fact.user)
            chosen = self._model.identity.context is Context.CHOSEN and self._names_tenant()
            for tenant in (None, fact.tenant) if chosen else (None,):
                state = ", ".join(self._state(fact))
                note = f"its membership of tenant {fact.tenant} is not in force"
                note += f": {state}" if state else ""
                yield self._principal(
                    HostileKind.FORMER, None, user=fact.user, tenant=tenant, note=note
                )

        memberships = self._model.memberships
        if seen or memberships is None or memberships.active is not None:
            return
        # A deleted membership leaves a user of no tenant behind, and what else points at it.
        known = {m.user for m in self._population.memberships}
        for user in [u for u in self._population.users if u not in known][-1:]:
            yield self._principal(
                HostileKind.FORMER, None, user=user, tenant=None, note="its membership is deleted"
            )

    def _state(self, fact: MembershipFact) -> Iterator[str]:
        """What the columns hold that tell whether a membership is in force."""
        memberships = self._model.memberships
        words = re.findall(r"\w+", memberships.active or "") if memberships is not None else []
        for column in dict.fromkeys(w for w in words if w in fact.attributes):
            value = fact.attributes[column]
            yield f"{column} is empty" if value is None else f"{column} = {value}"

    def _strayed(self, members: list[Principal]) -> Iterator[Principal]:
        """A member of one tenant that names another one, where the caller picks the tenant."""
        if self._model.identity.context is not Context.CHOSEN or not self._names_tenant():
            return
        for member in members:
            if member.kind == HostileKind.DUAL:
                continue
            foreign = next((t for t in self._tenants if t not in member.all_tenants), None)
            if foreign is None:
                return
            # Its own tenant's rows are no other organisation's, whatever tenant it names.
            yield self._principal(
                HostileKind.OUTSIDER,
                None,
                user=member.user,
                tenant=foreign,
                memberships=member.memberships,
                all_tenants=member.all_tenants,
                note=f"a member of tenant {member.tenant} that names tenant {foreign}",
            )
            return

    def _anonymous(self) -> Iterator[Principal]:
        role = self._model.identity.anonymous
        if role is None:
            return
        for tenant in self._foreign_tenants(frozenset()):
            settings = [
                (name, _as_role(value, self._model.identity, role))
                for name, value in self._rendered(
                    self._model.identity.settings, user=None, tenant=tenant
                )
            ]
            yield Principal(
                kind=HostileKind.ANONYMOUS,
                tenant=tenant,
                role=role,
                login=self._model.identity.login,
                settings=tuple(settings),
                statements=self._model.identity.statements,
                note="not signed in" + (f", names tenant {tenant}" if tenant else ""),
            )

    def _context_free(self, member: Principal) -> Iterator[Principal]:
        base = replace(
            member, user=None, tenant=None, memberships=(), all_tenants=frozenset(), settings=()
        )
        names = tuple(self._templates)
        yield replace(
            base,
            kind=HostileKind.UNSET,
            freshness=Freshness.NEVER_SET,
            note="the identity settings were never set on this connection",
        )
        yield replace(
            base,
            kind=HostileKind.EMPTY,
            settings=tuple((n, "") for n in names),
            note="every identity setting is the empty string",
        )
        for freshness, word in (
            (Freshness.COMMITTED, "committed"),
            (Freshness.ROLLED_BACK, "was rolled back"),
        ):
            yield replace(
                base,
                kind=HostileKind.RESIDUAL,
                freshness=freshness,
                earlier=member.settings,
                note=f"an earlier transaction set the identity locally and {word}",
            )

    def _partial(self, member: Principal) -> Iterator[Principal]:
        """All pairs of settings of which one is there and the other is missing or empty."""
        if len(member.settings) < 2:
            return
        verified = self._model.identity.context is Context.VERIFIED
        for name, _ in member.settings:
            rest = tuple((n, v) for n, v in member.settings if n != name)
            keeps_user = self._carries(rest, "user")
            keeps_tenant = self._carries(rest, "tenant") or self._carries(rest, "membership")
            vouched = keeps_user or (keeps_tenant and verified)
            own = replace(
                member,
                user=member.user if keeps_user else None,
                tenant=member.tenant if keeps_tenant else None,
                memberships=member.memberships if vouched else (),
                all_tenants=member.all_tenants if vouched else frozenset(),
            )
            yield replace(
                own,
                kind=HostileKind.UNSET,
                settings=rest,
                freshness=Freshness.NEVER_SET,
                note=f"{name} was never set, the other settings are those of a member",
            )
            yield replace(
                own,
                kind=HostileKind.EMPTY,
                settings=(*rest, (name, "")),
                note=f"{name} is the empty string, the other settings are those of a member",
            )

    def _carries(self, settings: tuple[tuple[str, str], ...], word: str) -> bool:
        """Whether any of these settings is made from attributes of the user, tenant, …"""
        for name, _ in settings:
            template = self._templates.get(name)
            if isinstance(template, SqlTemplate):
                if uses_placeholder(template.sql, word):
                    return True
            elif template is not None and any(
                w.startswith(f"{word}.") for w in template_words(template)
            ):
                return True
        return False

    def _malformed(self, member: Principal) -> Iterator[Principal]:
        base = replace(member, user=None, tenant=None, memberships=(), all_tenants=frozenset())
        for name, value in member.settings:
            template = self._templates.get(name)
            json_like = isinstance(template, str) and is_json_template(template)
            for bad, note in _bad_values(value, json_like=json_like):
                rest = tuple((n, bad if n == name else v) for n, v in member.settings)
                others = tuple(s for s in member.settings if s[0] != name)
                if note.startswith("valid") and self._carries(((name, value),), "tenant"):
                    # Only the subject is wrong: the tenant that the claims name is vouched for.
                    if self._model.identity.context is Context.CHOSEN:
                        continue
                    others = member.settings
                verified = self._model.identity.context is Context.VERIFIED
                own = base
                named = self._carries(others, "tenant") or self._carries(others, "membership")
                if others is not member.settings and self._carries(others, "user"):
                    own = replace(member, tenant=None)
                elif verified and named:
                    own = replace(member, tenant=None, user=None)
                yield replace(
                    own, kind=HostileKind.MALFORMED, settings=rest, note=f"{name} is {note}"
                )

    def _claims(self, member: Principal) -> Iterator[Principal]:
        """Claims that the user writes itself (Supabase: auth.update_user) name another tenant."""
        foreign = next((t for t in self._tenants if t not in member.all_tenants), None)
        for name, value in member.settings:
            try:
                claims = json.loads(value)
            except ValueError:
                continue
            if not isinstance(claims, dict) or foreign is None:
                continue
            keys = (
                "tenant_id",
                "org_id",
                "organization_id",
                "org",
                "tenant",
                "company_id",
                "account_id",
                "workspace_id",
                "team_id",
            )
            column = next(
                (o.column for o in self._model.ownership.values() if o.kind == "column"), None
            )
            forged: dict[str, object] = dict.fromkeys(
                (*keys, *([column] if column else [])), foreign
            )
            forged |= {n: foreign for n in self._model.identity.claim_names if n not in claims}
            forged |= {"role": "admin", "is_admin": True, "admin": True}
            claims["user_metadata"] = {**claims.get("user_metadata", {}), **forged}
            changed = json.dumps(claims)
            yield replace(
                member,
                kind=HostileKind.CLAIM,
                settings=tuple((n, changed if n == name else v) for n, v in member.settings),
                note=f"its user_metadata, which users write themselves, names tenant {foreign}",
            )
            return

    # Identity

    def _principal(
        self,
        kind: str,
        declared: Kind | None,
        *,
        user: str | None,
        tenant: str | None,
        membership: MembershipFact | None = None,
        memberships: tuple[Membership, ...] = (),
        all_tenants: frozenset[str] = frozenset(),
        note: str = "",
    ) -> Principal:
        identity = self._model.identity
        templates = dict(identity.settings) | dict(declared.settings if declared else {})
        role = declared.role if declared and declared.role is not None else identity.role
        binding = Binding(tenant, user, sorted(m.tenant for m in memberships))
        attributes = attributes_of(
            self._population, user=user, tenant=tenant, membership=membership
        )
        if isinstance(role, SqlTemplate):
            role = self._resolve(role.sql, binding)
        elif role is not None:
            role = render_template(role, attributes)
        login = declared.login if declared and declared.login is not None else identity.login
        if login is not None:
            login = render_template(login, attributes)
        return Principal(
            kind=str(kind),
            user=user,
            tenant=tenant,
            memberships=memberships,
            all_tenants=all_tenants,
            role=role,
            login=login,
            settings=tuple(
                self._rendered(
                    templates, user=user, tenant=tenant, membership=membership, binding=binding
                )
            ),
            statements=identity.statements,
            note=note,
        )

    def _rendered(
        self,
        templates: Mapping[str, str | SqlTemplate],
        *,
        user: str | None,
        tenant: str | None,
        membership: MembershipFact | None = None,
        binding: Binding | None = None,
    ) -> Iterator[tuple[str, str]]:
        attributes = attributes_of(
            self._population, user=user, tenant=tenant, membership=membership
        )
        for name, template in templates.items():
            if isinstance(template, SqlTemplate):
                needs_user = uses_placeholder(template.sql, "user") and user is None
                value = (
                    None
                    if needs_user
                    else self._resolve(template.sql, binding or Binding(tenant, user, ()))
                )
            else:
                value = render_template(template, attributes)
            if value is not None:
                yield name, value


def _one_of_each(members: list[Principal]) -> list[Principal]:
    """The first member of each set of identity settings."""
    found: dict[frozenset[str], Principal] = {}
    for member in members:
        found.setdefault(frozenset(name for name, _ in member.settings), member)
    return list(found.values())


def _as_role(value: str, identity: Identity, role: str) -> str:
    """A JWT's role claim follows the role: an anonymous token says so."""
    if not isinstance(identity.role, str):
        return value
    try:
        claims = json.loads(value)
    except ValueError:
        return value
    if isinstance(claims, dict) and claims.get("role") == identity.role:
        return json.dumps({**claims, "role": role})
    return value


_UNKNOWN_UUID = "00000000-0000-4000-8000-00000000dead"


def _bad_values(value: str, *, json_like: bool) -> Iterator[tuple[str, str]]:
    """Values that an identity setting should never have, with what is wrong with each."""
    if json_like:
        yield "not json", "not JSON"
        yield "[]", "a JSON array"
        yield "null", "JSON null"
        yield "{}", "an empty JSON object"
        claims = json.loads(value)
        if isinstance(claims, dict) and "sub" in claims:
            unknown = _UNKNOWN_UUID if len(str(claims["sub"])) == 36 else "nobody"
            yield json.dumps({**claims, "sub": unknown}), "valid for a user that does not exist"
            yield json.dumps({**claims, "sub": None}), "valid, with a null subject"
        return
    yield "%", "a wildcard"
    yield "' OR true --", "an injection attempt"
    if value.isdigit():
        yield "-1", "an id that does not exist"
    elif len(value) == 36:
        yield _UNKNOWN_UUID, "an id that does not exist"
    else:
        yield "nobody", "an id that does not exist"
