"""Acting: in which roles principals act, with which settings, in whose name and of what kinds."""

import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tenantfuzz.policies.inferring.guesses import Confidence, Guess, Path, Question, holds
from tenantfuzz.policies.inferring.identity import (
    Meaning,
    Mechanism,
    People,
    meanings,
    mechanism_of,
    users_need_uuids,
    vouching,
)
from tenantfuzz.policies.inferring.landmarks import Evidence, Joining
from tenantfuzz.policies.inferring.pointers import Surroundings, display
from tenantfuzz.policies.inferring.readings import Reading
from tenantfuzz.policies.inferring.roles import Cast
from tenantfuzz.policies.inferring.words import words
from tenantfuzz.policies.quoting import literal, readable_identifier
from tenantfuzz.policies.resolution import PresetFacts
from tenantfuzz.policies.structure import Relation

_USERS_WITH_UUIDS = 32
_KIND_COLUMNS = frozenset({"role", "permission", "level", "kind", "type", "access", "rank"})


@dataclass(frozen=True, slots=True)
class Identities:
    """What is guessed and asked of ``[identity]`` and ``[principals]``, and remarks."""

    guesses: tuple[Guess, ...]
    questions: tuple[Question, ...]
    remarks: tuple[str, ...]


class IdentitySearch:
    """Looks for how identity reaches the session, once it is known who owns what."""

    def __init__(
        self,
        around: Surroundings,
        readings: Sequence[Reading],
        evidence: Evidence,
        given: Mapping[str, object],
        preset: PresetFacts,
        people: People,
        cast: Cast,
    ) -> None:
        self.around = around
        self.readings = readings
        self.evidence = evidence
        self.given = given
        self.preset = preset
        self._people = people
        self._cast = cast
        self.guesses: list[Guess] = []
        self.questions: list[Question] = []
        self.remarks: list[str] = []
        self._kinds_known = False

    def _guess(
        self, path: Path, value: object, reason: str, confidence: Confidence = Confidence.SURE
    ) -> None:
        self.guesses.append(Guess(path, value, reason, confidence))

    def _stated(self, *path: str) -> object:
        here: object = self.given
        for key in path:
            here = here.get(key) if isinstance(here, Mapping) else None
        return here

    def _named(self, relation: Relation) -> str:
        return display(self.around, relation.name)

    def search(self) -> Identities:
        """Everything that can be said."""
        people, cast = self._people, self._cast
        role = self._role(cast)
        found = meanings(self.readings, self.evidence, self.around, people)
        mechanism = mechanism_of(found, self.preset.settings, role)
        if mechanism.role is not None and not holds(self.given, ("identity", "role")):
            self.guesses = [g for g in self.guesses if g.path != ("identity", "role")]
            self.questions = [q for q in self.questions if q.path != ("identity", "role")]
            reason = "policies compare a column with the role"
            self._guess(("identity", "role"), mechanism.role, reason)
            self._gateway()
        for setting, value in mechanism.settings.items():
            confidence = Confidence.LIKELY if setting in mechanism.unsure else Confidence.SURE
            reason = mechanism.reasons.get(setting, "policies read it")
            self._guess(("identity", "settings", setting), value, reason, confidence)
        self._unknown(mechanism)
        self._scope(mechanism, people)
        self._context(mechanism, people, found)
        if users_need_uuids(found, self.around, people) and people.users is not None:
            path = ("values", f"{self._named(people.users)}.{people.user_key}")
            ids = [
                str(uuid.uuid5(uuid.NAMESPACE_URL, f"tenantfuzz:user:{n}"))
                for n in range(_USERS_WITH_UUIDS)
            ]
            self._guess(path, ids, "the key is text, and auth.uid() takes uuids only")
        self._mechanism_is_known(mechanism, people)
        self._kinds(people.joining)
        return Identities(
            tuple(self.guesses), tuple(self.questions), tuple(dict.fromkeys(self.remarks))
        )

    def _gateway(self) -> None:
        """The login that switches to the roles of tenants, where only one can be meant: one that
        switches to roles that have nothing to do here is another application's."""
        acting = {a.role for a in self._cast.acting}
        logins = [
            role.name
            for role in self.around.catalog.roles.values()
            if role.login
            and not role.inherit
            and not role.superuser
            and (not role.member_of or role.member_of & acting)
        ]
        if len(logins) == 1 and not any(g.path == ("identity", "login") for g in self.guesses):
            self._guess(("identity", "login"), logins[0], "it inherits nothing, so it switches")

    def _mechanism_is_known(self, mechanism: Mechanism, people: People) -> None:
        """Without a way in which the session learns who asks, nothing can be tested."""
        path = ("identity", "settings")
        named = mechanism.names_tenant or mechanism.names_user or mechanism.settings
        if named or mechanism.role is not None or holds(self.given, path):
            return
        if not people.tenant_places:
            return  # while nobody knows what a tenant is, policies cannot be understood
        if any(k in self.preset.settings for k in ("request.jwt.claims",)) and people.joining:
            return
        text = "how does the session learn who asks? no policy reads a setting, a claim or the role"
        self.questions.append(
            Question(path, text, ({"app.tenant": "{tenant.id}"},), essential=True)
        )

    def _role(self, cast: Cast) -> str | None:
        path = ("identity", "role")
        stated = self._stated(*path) or self.preset.role
        if stated is not None:
            return stated if isinstance(stated, str) else None
        if cast.unbound:
            self.remarks.append(
                f"the policies are decoration for {', '.join(cast.unbound)}: they own tables whose "
                "row security is not forced, or have BYPASSRLS"
            )
        if len(cast.acting) == 1:
            [acting] = cast.acting
            confidence = Confidence.LIKELY if cast.unbound else Confidence.SURE
            self._guess(path, acting.role, acting.reason, confidence)
            if acting.login is not None:
                self._guess(("identity", "login"), acting.login, "it switches to the role")
            self._others(cast)
            return acting.role
        candidates = tuple(a.role for a in cast.acting)
        text = "as which role does the application act?"
        if not candidates:
            text += " no role has privileges on the tables: the owner, or one made elsewhere"
            if not any(r.row_security for r in self.around.tables.values()):
                text += (
                    "; none if only application code does: name it as [[queries]] or [[adapters]]"
                )
            owners = {r.owner for r in self.around.tables.values()}
            superusers = {n for n, r in self.around.catalog.roles.items() if r.superuser}
            candidates = tuple(sorted(owners - superusers))
        elif cast.personas and (roles := self._personas(cast)) is not None:
            return roles
        elif cast.personas:
            text = "which of these roles does a member act as? they may be kinds of members"
            login = cast.acting[0].login
            self._guess(("identity", "login"), login, "it switches to these roles")
        self.questions.append(Question(path, text, candidates, essential=True))
        return None

    def _personas(self, cast: Cast) -> str | None:
        """Roles that are kinds of members, where a column of memberships has the same words; the
        one that may do least is that of ordinary members."""
        joining = self._people.joining
        if joining is None or holds(self.given, ("principals",)):
            return None
        relation = self.around.catalog.relations[joining.relation]
        for column in relation.columns:
            labels = _labels(relation, column.name)
            fitting = {
                label: [
                    a.role
                    for a in cast.personas
                    if words(a.role)[-len(words(label)) :] == words(label)
                ]
                for label in labels
            }
            if len(labels) < 2 or any(len(roles) != 1 for roles in fitting.values()):
                continue
            if {r for roles in fitting.values() for r in roles} != {a.role for a in cast.personas}:
                continue
            [*kinds, last] = sorted(labels, key=lambda label: -self._breadth(fitting[label][0]))
            reason = f"the roles are named after the values of {joining.relation}.{column.name}"
            for label in kinds:
                value = {
                    "where": f"membership.{readable_identifier(column.name)} = {literal(label)}",
                    "role": fitting[label][0],
                }
                self._guess(("principals", label), value, reason)
            self._guess(("identity", "role"), fitting[last][0], f"{reason}; '{last}' may do least")
            self._guess(("identity", "login"), cast.personas[0].login, "it switches to these roles")
            self._kinds_known = True
            return fitting[last][0]
        return None

    def _breadth(self, role: str) -> int:
        return sum(
            len(grant.privileges) + len(grant.columns)
            for (name, _), grant in self.around.catalog.grants.items()
            if name == role
        )

    def _others(self, cast: Cast) -> None:
        if cast.anonymous is not None:
            reason = "its name says that nobody is signed in"
            self._guess(("identity", "anonymous"), cast.anonymous, reason)
        if cast.service is not None:
            reason = "row security does not bind it, or its name says so"
            self._guess(("identity", "service_role"), cast.service, reason)

    def _unknown(self, mechanism: Mechanism) -> None:
        constants: dict[str, set[str]] = {}
        for reading in self.readings:
            for source, value in reading.constants:
                constants.setdefault(str(source), set()).add(value)
        for source in mechanism.unknown:
            told = sorted(constants.get(str(source), set()))
            text = f"policies read {source}, and nothing shows what it holds"
            if told:
                text += f"; they compare it with {', '.join(repr(t) for t in told[:4])}"
            path = ("identity", "settings", source.setting)
            self.questions.append(Question(path, text, tuple(told[:3])))

    def _scope(self, mechanism: Mechanism, people: People) -> None:
        if people.joining is None or not mechanism.names_tenant or not mechanism.names_user:
            return
        reason = "the session names one tenant: a user of two works in one of them at a time"
        self._guess(("tenancy", "scope"), "active", reason)

    def _context(self, mechanism: Mechanism, people: People, found: list[Meaning]) -> None:
        if people.joining is None or not mechanism.names_tenant:
            return
        path = ("identity", "context")
        if mechanism.header:
            self._guess(path, "chosen", "the tenant comes in a header, which the caller writes")
            return
        if mechanism.signed:
            return  # a signed claim vouches for the tenant, which is the default
        checked, unchecked = vouching(self.readings, found, people)
        if checked:
            reason = (
                f"{checked} of {checked + unchecked} policies that read the tenant check that the "
                "user is a member of it: the caller may name any"
            )
            confidence = Confidence.LIKELY if unchecked else Confidence.SURE
            self._guess(path, "chosen", reason, confidence)

    def _kinds(self, joining: Joining | None) -> None:
        """Kinds of members, where policies tell them apart: a person knows what each may do."""
        if joining is None or holds(self.given, ("principals",)) or self._kinds_known:
            return
        relation = self.around.catalog.relations[joining.relation]
        spoken = {
            word
            for text in (
                *(
                    t
                    for r in self.around.tables.values()
                    for p in r.policies
                    for t in (p.using, p.check)
                ),
                *(f.source for f in self.around.catalog.functions),
            )
            for word in re.findall(r"\w+", text or "")
        }
        for column in relation.columns:
            told = set(words(column.name)) & _KIND_COLUMNS and column.name in spoken
            labels = _labels(relation, column.name) if told else ()
            if len(labels) < 2:
                continue
            candidates = tuple(
                {
                    label: {
                        "where": f"membership.{readable_identifier(column.name)} = {literal(label)}"
                    }
                }
                for label in labels
            )
            text = f"do members differ by {joining.relation}.{column.name} in what they may do?"
            self.questions.append(Question(("principals",), text, candidates))


def _labels(relation: Relation, column: str) -> tuple[str, ...]:
    found = relation.column(column)
    if found is not None and found.type.labels:
        return found.type.labels
    for check in relation.checks:
        if check.columns == (column,):
            return tuple(re.findall(r"'([^']+)'", check.expression))
    return ()
