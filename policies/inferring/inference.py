"""Inference: from a catalog to the configuration that a person would write for it."""

import uuid
from collections.abc import Mapping

from tenantfuzz.policies.classification import Landmarks
from tenantfuzz.policies.inferring.acting import IdentitySearch
from tenantfuzz.policies.inferring.guesses import (
    Confidence,
    Guess,
    Inference,
    Path,
    Question,
    holds,
)
from tenantfuzz.policies.inferring.identity import People, active_predicate
from tenantfuzz.policies.inferring.landmarks import (
    Evidence,
    Joining,
    Proposal,
    confidence_of,
    gather,
    is_contested,
    propose_joinings,
    propose_tenants,
    propose_users,
)
from tenantfuzz.policies.inferring.owners import (
    Known,
    Owners,
    OwnerSearch,
    stray_columns,
    tenant_columns,
)
from tenantfuzz.policies.inferring.pointers import Surroundings, display, survey
from tenantfuzz.policies.inferring.readings import Match, Place, Reading
from tenantfuzz.policies.inferring.roles import Cast, cast_roles
from tenantfuzz.policies.inferring.session import read_defaults, read_policies
from tenantfuzz.policies.lookup import single_key
from tenantfuzz.policies.model import Memberships, Ownership, OwnershipKind
from tenantfuzz.policies.resolution import PresetFacts
from tenantfuzz.policies.structure import Catalog, Relation, RelationName, Role


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

    def infer(self) -> Inference:
        users = propose_users(self.around, self.evidence)
        joinings = propose_joinings(self.around, self.evidence, users)
        tenants = self._tenants(joinings)
        joining = self._memberships(tenants, joinings)
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
            self._credentials(people),
        )
        owners = OwnerSearch(self.around, self.readings, known).search()
        people = self._people(landmarks, joining, owners.ownership)
        answered = self._answered()
        self.guesses += [g for g in owners.guesses if self._about(g.path) not in answered]
        if not any(q.path == ("tenancy", "tenants") for q in self.questions):
            # Before that is known, whose the rows of a relation are is no question worth asking.
            self.questions += [q for q in owners.questions if self._about(q.path) not in answered]
        found = IdentitySearch(
            self.around, self.readings, self.evidence, self.given, self.preset, people, cast
        ).search()
        self.guesses += found.guesses
        self.questions += found.questions
        return self._result(owners, found.remarks)

    def _result(self, owners: Owners, remarks: tuple[str, ...]) -> Inference:
        guesses = tuple(g for g in self.guesses if not holds(self.given, g.path))
        return Inference(
            guesses,
            tuple(q for q in self.questions if self._is_open(q.path)),
            {n: why for n, why in owners.doubts.items() if n not in self._answered()},
            remarks,
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

    def _answered(self) -> set[RelationName]:
        """The relations of which the file says whose their rows are."""
        tables = self._stated("tenancy", "tables")
        stated = tables.items() if isinstance(tables, Mapping) else ()
        known = {self.catalog.find(text) for text, value in stated if value != "unclassified"}
        return {name for name in known if name is not None}

    def _is_open(self, path: Path) -> bool:
        """Whether the file has no answer at a place."""
        return not holds(self.given, path) or self._stated(*path) == "unclassified"

    def _about(self, path: Path) -> RelationName | None:
        """The relation that a place in the configuration speaks of."""
        named = path[:2] in (("tenancy", "tables"), ("access", "*")) and len(path) > 2
        return self.catalog.find(path[2]) if named else None

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
        if not best.decided and self._decided_columns():
            self._tenants_by_value(proposals)  # the session names another one than its name says
            return None
        if confidence is Confidence.UNSURE or is_contested(proposals):
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
        named, told = stray_columns(self.around), self._decided_columns()
        stray = {c: names for c, names in named.items() if c in told} or told or named
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

    def _decided_columns(self) -> dict[str, list[RelationName]]:
        """Columns of one name that most tables have, that lead nowhere, and that the session
        decides about: whatever their name says, they hold the tenant."""
        found: dict[str, list[RelationName]] = {}
        pointing = {(p.relation, p.column) for p in self.around.pointers}
        for name, relation in self.around.tables.items():
            for column in relation.columns:
                if (name, column.name) not in pointing:
                    found.setdefault(column.name, []).append(name)
        return {
            column: names
            for column, names in found.items()
            if 2 * len(names) > len(self.around.tables)
            and sum(self.evidence.compared(Place(n, column)) for n in names) * 2 > len(names)
        }

    def _roles_as_tenants(self, column: str, relations: list[RelationName]) -> list[str] | None:
        """The names of the roles, where each tenant has one of its own."""
        by_role = any(
            m.source.setting == "" and m.place == Place(r, column)
            for r in relations
            for m in self.evidence.matches
        )
        if not by_role:
            return None
        acting = [self.catalog.roles[a.role] for a in cast_roles(self.around).acting]
        lent = {name for role in acting for name in role.inherits_from}
        names = [role.name for role in acting if role.name not in lent]
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
            # Where policies ask memberships, one that ended counts for them: a finding, if it is
            # meant. Where the application says whose member one is, it may know better.
            told = any(m.place.relation == best.relation for m in self.evidence.matches)
            meant = tuple({**value, "active": predicate} for predicate in candidates)
            self.questions.append(Question(path, why, meant, essential=not told))
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
            people = self.catalog.relations[joining.users]
            key = single_key(people)
            for foreign in self.catalog.relations[joining.relation].foreign_keys:
                if foreign.columns == (joining.user,) and foreign.target == people.name:
                    key = foreign.target_columns[0]
            if str(people.name) != default:
                reason = f"{joining.relation}.{joining.user} leads to it"
                self._guess(path, self._named(people), reason)
            return people, key
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
            self._active(),
            frozenset(tenant),
            frozenset(user - tenant),
        )

    def _active(self) -> str | None:
        """The predicate of memberships in force, as it is stated or guessed."""
        stated = self._stated("identity", "memberships", "active")
        if isinstance(stated, str):
            return stated
        guessed = [g.value for g in self.guesses if g.path == ("identity", "memberships")]
        active = guessed[0].get("active") if guessed and isinstance(guessed[0], Mapping) else None
        return active if isinstance(active, str) else None

    def _own_places(self, people: People) -> frozenset[Place]:
        """The columns that policies compare with the session's user."""
        sources = {m.source for m in self.evidence.matches if m.place in people.user_places}
        credentials = self._credentials(people)
        found = {own for own, others in self.evidence.lookups.items() if others & credentials}
        return frozenset({*found, *(m.place for m in self.evidence.matches if m.source in sources)})

    def _credentials(self, people: People) -> frozenset[Place]:
        """Where policies find the session's user by something else that the session holds: the
        users of a table of sessions, keys or tokens."""
        known = people.user_places | people.tenant_places
        holding = {m.place.relation for m in self.evidence.matches if m.place not in known}
        if people.joining is not None:
            holding.discard(people.joining.relation)
        return frozenset(
            other
            for others in self.evidence.lookups.values()
            for other in others
            if other in people.user_places and other.relation in holding
        )

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


def _tenant_values(base: str) -> list[str] | None:
    if base == "uuid":
        return [str(uuid.uuid5(uuid.NAMESPACE_URL, f"tenantfuzz:tenant:{n}")) for n in range(3)]
    if base in ("int2", "int4", "int8", "numeric"):
        return ["1", "2", "3"]
    if base in ("text", "varchar", "citext", "name"):
        return ["tenant-a", "tenant-b", "tenant-c"]
    return None
