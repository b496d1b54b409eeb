"""Inference: from a catalog to the configuration that a person would write for it."""

import re
import uuid
from collections.abc import Mapping

from tenantfuzz.policies.classification import Landmarks
from tenantfuzz.policies.inferring.guesses import (
    Confidence,
    Guess,
    Inference,
    Path,
    Question,
    holds,
)
from tenantfuzz.policies.inferring.identity import (
    Meaning,
    Mechanism,
    People,
    active_predicate,
    meanings,
    mechanism_of,
    users_need_uuids,
    vouching,
)
from tenantfuzz.policies.inferring.landmarks import (
    Evidence,
    Joining,
    Proposal,
    confidence_of,
    gather,
    propose_joinings,
    propose_tenants,
    propose_users,
)
from tenantfuzz.policies.inferring.owners import (
    Known,
    Owners,
    OwnerSearch,
    display,
    stray_columns,
    tenant_columns,
)
from tenantfuzz.policies.inferring.pointers import Surroundings, survey
from tenantfuzz.policies.inferring.roles import Cast, cast_roles
from tenantfuzz.policies.inferring.session import (
    Match,
    Place,
    Reading,
    read_defaults,
    read_policies,
)
from tenantfuzz.policies.inferring.words import words
from tenantfuzz.policies.lookup import single_key
from tenantfuzz.policies.model import Memberships, Ownership, OwnershipKind
from tenantfuzz.policies.quoting import literal, readable_identifier
from tenantfuzz.policies.resolution import PresetFacts
from tenantfuzz.policies.structure import Catalog, Relation, RelationName, Role

_USERS_WITH_UUIDS = 32
_KIND_COLUMNS = frozenset({"role", "permission", "level", "kind", "type", "access", "rank"})


def infer(
    catalog: Catalog,
    *,
    given: Mapping[str, object],
    preset: PresetFacts | None,
    platform: frozenset[RelationName] = frozenset(),
) -> Inference:
    """What the catalog shows of tenancy and identity.

    ``given`` is the configuration so far, as TOML has it: what stands there is taken as it is and
    not guessed again. ``platform`` are the relations that the preset brought.
    """
    return _Inferrer(catalog, given, preset or PresetFacts(), platform).infer()


class _Inferrer:
    def __init__(
        self,
        catalog: Catalog,
        given: Mapping[str, object],
        preset: PresetFacts,
        platform: frozenset[RelationName],
    ) -> None:
        self.catalog = catalog
        self.given = given
        self.preset = preset
        self.around: Surroundings = survey(catalog, platform)
        self.readings: tuple[Reading, ...] = read_policies(catalog)
        self.defaults: tuple[Match, ...] = read_defaults(catalog)
        self.evidence: Evidence = gather(self.readings, self.defaults)
        self.guesses: list[Guess] = []
        self.questions: list[Question] = []
        self.remarks: list[str] = []
        self._joining: Joining | None = None
        self._kinds_known = False

    def infer(self) -> Inference:
        users = propose_users(self.around, self.evidence)
        joinings = propose_joinings(self.around, self.evidence, users)
        tenants = self._tenants(joinings)
        joining = self._memberships(tenants, joinings)
        self._joining = joining
        people_relation, user_key = self._users(users, joining)
        columns = self._columns(tenants)
        memberships = (
            Memberships(joining.relation, joining.user, joining.tenant) if joining else None
        )
        landmarks = Landmarks(
            tenants,
            single_key(tenants) if tenants is not None else None,
            people_relation,
            user_key,
            memberships,
            columns,
        )
        people = self._people(landmarks, joining)
        cast = cast_roles(self.around)
        known = Known(
            landmarks,
            columns,
            self._roles_in_play(cast),
            self.preset.classification,
            self._own_places(people),
        )
        owners = OwnerSearch(self.around, self.readings, known).search()
        people = self._people(landmarks, joining, owners.ownership)
        if not holds(self.given, ("tenancy", "tables")):
            self.guesses += owners.guesses
            self.questions += owners.questions
        self._identity(people, cast)
        self._kinds(joining)
        return self._result(owners)

    def _result(self, owners: Owners) -> Inference:
        guesses = tuple(g for g in self.guesses if not holds(self.given, g.path))
        return Inference(
            guesses,
            tuple(q for q in self.questions if not holds(self.given, q.path)),
            {} if holds(self.given, ("tenancy", "tables")) else owners.doubts,
            tuple(dict.fromkeys(self.remarks)),
        )

    def _guess(
        self, path: Path, value: object, reason: str, confidence: Confidence = Confidence.SURE
    ) -> None:
        self.guesses.append(Guess(path, value, reason, confidence))

    def _stated(self, *path: str) -> object:
        here: object = self.given
        for key in path:
            here = here.get(key) if isinstance(here, Mapping) else None
        return here

    def _relation(self, text: object) -> Relation | None:
        found = self.catalog.find(text) if isinstance(text, str) else None
        return self.catalog.relations[found] if found is not None else None

    def _named(self, relation: Relation | RelationName) -> str:
        name = relation.name if isinstance(relation, Relation) else relation
        return display(self.around, name)

    # Landmarks

    def _tenants(self, joinings: Mapping[RelationName, list[Joining]]) -> Relation | None:
        path = ("tenancy", "tenants")
        if (stated := self._stated(*path)) is not None:
            return self._relation(stated)
        proposals = propose_tenants(self.around, self.evidence, joinings)
        confidence = confidence_of(proposals, least=7.0)
        if not proposals or proposals[0].points < 3.0:
            self._tenants_by_value(proposals)
            return None
        best = proposals[0]
        if confidence is Confidence.UNSURE:
            self._ask_tenants(proposals)
            return None
        reason = "; ".join(best.reasons)
        self._guess(path, self._named(best.relation), reason, confidence)
        return self.catalog.relations[best.relation]

    def _ask_tenants(self, proposals: list[Proposal]) -> None:
        likely = [p for p in proposals if p.points > 0][:4]
        text = "which table holds the tenants? " + "; ".join(
            f"{p.relation}: {', '.join(p.reasons)}" for p in likely[:2]
        )
        candidates = tuple(self._named(p.relation) for p in likely)
        self.questions.append(Question(("tenancy", "tenants"), text, candidates, essential=True))

    def _tenants_by_value(self, proposals: list[Proposal]) -> None:
        """Where no table holds the tenants, they are what stands in the tenant columns."""
        path = ("tenancy", "tenants")
        stray = stray_columns(self.around)
        ranked = sorted(stray, key=lambda c: (-len(stray[c]), c))
        if not ranked:
            if proposals:
                self._ask_tenants(proposals)
                return
            text = "which table holds the tenants? no name and no foreign key says it"
            self.questions.append(Question(path, text, (), essential=True))
            return
        column, relations = ranked[0], stray[ranked[0]]
        roles = self._roles_as_tenants(column, relations)
        found = self.catalog.relations[relations[0]].column(column)
        base = found.type.base if found is not None else "text"
        values = roles or _tenant_values(base)
        second = len(stray[ranked[1]]) if len(ranked) > 1 else 0
        decided = sum(self.evidence.decides(Place(r, column)) for r in relations)
        if values is None or 2 * second > len(relations):
            text = f"what are the tenants? no table holds them; columns are {', '.join(ranked)}"
            candidates = tuple({"values": _tenant_values(base) or ["a", "b"]} for _ in (0,))
            self.questions.append(Question(path, text, candidates, essential=True))
            return
        many = len(relations) > 1 and 2 * len(relations) > len(self.around.tables)
        confidence = Confidence.SURE if decided or many else Confidence.LIKELY
        reason = f"{len(relations)} relations have the column {column}, and no table holds tenants"
        if roles:
            reason += "; policies compare it with the role, and there are these roles"
        self._guess(path, {"values": values}, reason, confidence)
        self._guess(
            ("tenancy", "column"), column, f"{len(relations)} relations have it", confidence
        )

    def _roles_as_tenants(self, column: str, relations: list[RelationName]) -> list[str] | None:
        """The names of the roles, where each tenant has one of its own."""
        by_role = any(
            m.source.setting == "" and m.place == Place(r, column)
            for r in relations
            for m in self.evidence.matches
        )
        if not by_role:
            return None
        names = [a.role for a in cast_roles(self.around).acting]
        return names if len(names) > 1 else None

    def _memberships(
        self, tenants: Relation | None, joinings: Mapping[RelationName, list[Joining]]
    ) -> Joining | None:
        path = ("identity", "memberships")
        stated = self._stated(*path)
        if isinstance(stated, Mapping):
            relation = self._relation(stated.get("table"))
            if relation is None:
                return None
            users = self._relation(self._stated("identity", "users")) or relation
            user, tenant = str(stated.get("user")), str(stated.get("tenant"))
            return Joining(relation.name, user, tenant, users.name, 9.0)
        found = joinings.get(tenants.name, []) if tenants is not None else []
        if not found or found[0].points < 3.0:
            return None
        best = found[0]
        lead = best.points - (found[1].points if len(found) > 1 else 0.0)
        reason = "; ".join(best.reasons)
        value: dict[str, object] = {
            "table": self._named(best.relation),
            "user": best.user,
            "tenant": best.tenant,
        }
        if lead < 1.0 or (lead < 2.0 and best.points < 6.0):
            tables = tuple(
                {"table": self._named(j.relation), "user": j.user, "tenant": j.tenant}
                for j in found[:3]
            )
            text = "which table makes users members of tenants?"
            self.questions.append(Question(path, text, tables, essential=True))
            return None
        sure = best.points >= 4.0
        active, why, candidates = active_predicate(self.readings, best, self.around)
        if active is not None:
            value["active"] = active
            reason += f"; {why}"
        elif candidates:
            meant = tuple({**value, "active": predicate} for predicate in candidates)
            self.questions.append(Question(path, why, meant))
        self._guess(path, value, reason, Confidence.SURE if sure else Confidence.LIKELY)
        return best

    def _users(
        self, users: list[Proposal], joining: Joining | None
    ) -> tuple[Relation | None, str | None]:
        path = ("identity", "users")
        stated = self._relation(self._stated(*path))
        if stated is not None:
            return stated, single_key(stated)
        default = self.preset.users
        if joining is not None:
            relation = self.catalog.relations[joining.users]
            key = single_key(relation)
            for foreign in self.catalog.relations[joining.relation].foreign_keys:
                if foreign.columns == (joining.user,) and foreign.target == relation.name:
                    key = foreign.target_columns[0]
            if str(relation.name) != default:
                reason = f"{joining.relation}.{joining.user} leads to it"
                self._guess(path, self._named(relation), reason)
            return relation, key
        if default is not None and (relation := self._relation(default)) is not None:
            return relation, single_key(relation)
        return None, None

    def _columns(self, tenants: Relation | None) -> tuple[str, ...]:
        path = ("tenancy", "column")
        stated = self._stated(*path)
        if isinstance(stated, str):
            return (stated,)
        if isinstance(stated, list | tuple):
            return tuple(str(c) for c in stated)
        if tenants is None:
            guessed = next((g.value for g in self.guesses if g.path == path), None)
            return (guessed,) if isinstance(guessed, str) else ()
        columns = tenant_columns(self.around, tenants)
        if columns:
            counts = [
                f"{sum(p.column == c for p in self.around.to(tenants.name))} relations have {c}"
                for c in columns
            ]
            value: object = columns[0] if len(columns) == 1 else list(columns)
            self._guess(path, value, ", ".join(counts))
        return columns

    def _people(
        self,
        landmarks: Landmarks,
        joining: Joining | None,
        ownership: Mapping[RelationName, Ownership] | None = None,
    ) -> People:
        tenant: set[Place] = set()
        user: set[Place] = set()
        if landmarks.tenants is not None and landmarks.tenant_key is not None:
            tenant.add(Place(landmarks.tenants.name, landmarks.tenant_key))
        for relation in self.around.tables.values():
            tenant |= {
                Place(relation.name, c) for c in landmarks.columns if relation.column(c) is not None
            }
        if landmarks.users is not None:
            if landmarks.user_key is not None:
                user.add(Place(landmarks.users.name, landmarks.user_key))
            user |= {Place(p.relation, p.column) for p in self.around.to(landmarks.users.name)}
        if joining is not None:
            user.add(Place(joining.relation, joining.user))
            tenant.add(Place(joining.relation, joining.tenant))
            for relation in self.around.tables.values():
                for key in relation.foreign_keys:
                    for column, other in zip(key.columns, key.target_columns, strict=True):
                        if key.target == joining.relation and other == joining.user:
                            user.add(Place(relation.name, column))
        for name, owner in (ownership or {}).items():
            if owner.column is not None and owner.kind is OwnershipKind.COLUMN:
                tenant.add(Place(name, owner.column))
            elif owner.column is not None and owner.kind is OwnershipKind.USER:
                user.add(Place(name, owner.column))
        return People(
            landmarks.tenants,
            landmarks.tenant_key,
            landmarks.users,
            landmarks.user_key,
            joining,
            frozenset(tenant),
            frozenset(user - tenant),
        )

    def _own_places(self, people: People) -> frozenset[Place]:
        sources = {m.source for m in self.evidence.matches if m.place in people.user_places}
        return frozenset(m.place for m in self.evidence.matches if m.source in sources)

    # Identity

    def _roles_in_play(self, cast: Cast) -> tuple[Role, ...]:
        names = [
            n
            for n in (
                self._stated("identity", "role") or self.preset.role,
                self._stated("identity", "anonymous") or self.preset.anonymous,
            )
            if isinstance(n, str)
        ]
        if self.preset.role is None and not names:
            names = [a.role for a in cast.acting] + ([cast.anonymous] if cast.anonymous else [])
        return tuple(self.catalog.roles[n] for n in names if n in self.catalog.roles)

    def _identity(self, people: People, cast: Cast) -> None:
        role = self._role(cast)
        found = meanings(self.readings, self.evidence, self.around, people)
        mechanism = mechanism_of(found, self.preset.settings, role)
        if mechanism.role_is_tenant and not holds(self.given, ("identity", "role")):
            self.guesses = [g for g in self.guesses if g.path != ("identity", "role")]
            self.questions = [q for q in self.questions if q.path != ("identity", "role")]
            reason = "policies compare the tenant's column with the role"
            self._guess(("identity", "role"), "{tenant.id}", reason)
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

    def _mechanism_is_known(self, mechanism: Mechanism, people: People) -> None:
        """Without a way in which the session learns who asks, nothing can be tested."""
        path = ("identity", "settings")
        named = mechanism.names_tenant or mechanism.names_user or mechanism.settings
        if named or mechanism.role_is_tenant or holds(self.given, path):
            return
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
            owners = {r.owner for r in self.around.tables.values()}
            superusers = {n for n, r in self.catalog.roles.items() if r.superuser}
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
        joining = self._joining
        if joining is None or holds(self.given, ("principals",)):
            return None
        relation = self.catalog.relations[joining.relation]
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
            for (name, _), grant in self.catalog.grants.items()
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
        relation = self.catalog.relations[joining.relation]
        spoken = {
            word
            for text in (
                *(
                    t
                    for r in self.around.tables.values()
                    for p in r.policies
                    for t in (p.using, p.check)
                ),
                *(f.source for f in self.catalog.functions),
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


def _tenant_values(base: str) -> list[str] | None:
    if base == "uuid":
        return [str(uuid.uuid5(uuid.NAMESPACE_URL, f"tenantfuzz:tenant:{n}")) for n in range(3)]
    if base in ("int2", "int4", "int8", "numeric"):
        return ["1", "2", "3"]
    if base in ("text", "varchar", "citext", "name"):
        return ["tenant-a", "tenant-b", "tenant-c"]
    return None
