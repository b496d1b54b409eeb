"""Owners: to whom the rows of each relation belong, once tenants and users are known."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tenantfuzz.policies.classification import Classification, Landmarks
from tenantfuzz.policies.configuration import parse_ownership
from tenantfuzz.policies.inferring.guesses import Confidence, Guess, Question
from tenantfuzz.policies.inferring.pointers import Pointer, Surroundings, display
from tenantfuzz.policies.inferring.readings import Alternative, Place, Reading
from tenantfuzz.policies.inferring.roles import reaches
from tenantfuzz.policies.inferring.widening import widenings
from tenantfuzz.policies.inferring.words import (
    CATALOGUE_WORDS,
    SECRET_WORDS,
    TENANT_WORDS,
    is_pointer,
    names_it,
    nearly_names_it,
    subject,
    words,
)
from tenantfuzz.policies.lookup import Lookup, single_key
from tenantfuzz.policies.model import Ownership, OwnershipKind
from tenantfuzz.policies.structure import Operation, Relation, RelationName, Role
from tenantfuzz.policies.ways import References, read_reference

_OWNING = frozenset({"owner", "owning", "own", "id", "fk", "ref", "key"})
_NOT_OWNED = (OwnershipKind.SHARED, OwnershipKind.PRIVATE, OwnershipKind.UNCLASSIFIED)
_WRITES = (Operation.INSERT, Operation.UPDATE, Operation.DELETE)


@dataclass(frozen=True, slots=True)
class Known:
    """What is known before owners are looked for. ``columns`` are the usual tenant columns,
    ``roles`` those that principals act in, ``users_columns`` says which columns hold users."""

    landmarks: Landmarks
    columns: tuple[str, ...]
    roles: tuple[Role, ...]
    preset: Mapping[str, object]
    own_places: frozenset[Place]  # columns that policies compare with the session's user
    credentials: frozenset[Place] = frozenset()  # columns where policies find the session's user


@dataclass(frozen=True, slots=True)
class Owners:
    """The guesses, questions and doubts about the relations, and the ownership that follows."""

    guesses: tuple[Guess, ...]
    questions: tuple[Question, ...]
    doubts: Mapping[RelationName, str]
    ownership: Mapping[RelationName, Ownership]


def tenant_columns(around: Surroundings, tenants: Relation) -> tuple[str, ...]:
    """The names of the columns that usually hold the tenant, the most frequent first."""
    counts: Counter[str] = Counter()
    for pointer in around.to(tenants.name):
        if pointer.relation != tenants.name and not is_pointer(pointer.column):
            counts[pointer.column] += 1
    named = [c for c in counts if names_it(c, tenants.name.name)]
    nearly = [c for c in counts if nearly_names_it(c, tenants.name.name)]
    usual = (
        named
        or sorted(nearly, key=lambda c: (-counts[c], c))[:1]
        or [c for c, _ in counts.most_common(1)]
    )
    return tuple(sorted(usual, key=lambda c: (-counts[c], c)))


def stray_columns(around: Surroundings) -> dict[str, list[RelationName]]:
    """Columns that name a tenant by a usual word although no relation holds such tenants."""
    found: dict[str, list[RelationName]] = {}
    pointing = {(p.relation, p.column) for p in around.pointers}
    for relation in around.tables.values():
        for column in relation.columns:
            said = subject(column.name)
            keyed = said != words(column.name) or column.name.lower() in ("tenant", "org")
            spoken = len(said) == 1 and TENANT_WORDS.get(said[0], 0) > 0
            if spoken and keyed and (relation.name, column.name) not in pointing:
                found.setdefault(column.name, []).append(relation.name)
    return found


class OwnerSearch:
    """Looks at each relation for what names and foreign keys say of its rows' owners."""

    def __init__(self, around: Surroundings, readings: Sequence[Reading], known: Known) -> None:
        self._around = around
        self._readings = readings
        self._known = known
        self._guesses: list[Guess] = []
        self._questions: list[Question] = []
        self._doubts: dict[RelationName, str] = {}
        self._tables: dict[str, object] = {}
        self._references: list[str] = []

    def search(self) -> Owners:
        """Everything that can be said."""
        self._name_references()
        for relation in self._around.tables.values():
            if relation is not self._known.landmarks.tenants and not self._is_landmark(relation):
                self._with_column(relation)
        self._users_by_column()
        self._platform()
        for relation in self._open():
            self._own(relation)
        for relation in self._open():
            self._catalogue(relation)
        self._ways()
        for relation in self._open():
            self._unknown(relation)
        self._widened()
        return Owners(
            tuple(self._guesses), tuple(self._questions), self._spread(), self._classified()
        )

    # What resolution makes of it so far

    def _classified(self) -> dict[RelationName, Ownership]:
        lookup = Lookup(self._around.catalog)
        references = References()
        for text in self._references:
            read_reference(lookup, references, text, "")
        classification = Classification(lookup, references, self._known.landmarks)
        tables = {name: parse_ownership(value) for name, value in self._tables.items()}
        return classification.resolve(tables, self._known.preset)

    def _open(self) -> list[Relation]:
        ownership = self._classified()
        return [
            relation
            for name, relation in self._around.tables.items()
            if ownership[name].kind is OwnershipKind.UNCLASSIFIED and name not in self._doubts
        ]

    def _is_landmark(self, relation: Relation) -> bool:
        marks = self._known.landmarks
        memberships = marks.memberships
        return relation is marks.users or (
            memberships is not None and memberships.relation == relation.name
        )

    # Guesses

    def _declare(
        self, relation: Relation, value: object, reason: str, confidence: Confidence
    ) -> None:
        name = self._display(relation)
        self._tables[name] = value
        self._guesses.append(Guess(("tenancy", "tables", name), value, reason, confidence))
        if confidence is not Confidence.SURE:
            self._doubts[relation.name] = f"only likely: {reason}"

    def _ask(self, relation: Relation, text: str, candidates: Sequence[object]) -> None:
        name = self._display(relation)
        self._doubts[relation.name] = text
        self._questions.append(Question(("tenancy", "tables", name), text, tuple(candidates)))

    def _display(self, relation: Relation) -> str:
        """What the platform brings is named with its schema, as its manual does."""
        if relation.name in self._around.platform:
            return str(relation.name)
        return display(self._around, relation.name)

    def _with_column(self, relation: Relation) -> None:
        """Relations with a tenant column, or with several."""
        tenants = self._known.landmarks.tenants
        usual = [c for c in self._known.columns if relation.column(c) is not None]
        pointing = (
            []
            if tenants is None
            else [p for p in self._around.of(relation.name) if p.target == tenants.name]
        )
        columns = list(dict.fromkeys([*usual, *(p.column for p in pointing)]))
        if not columns:
            return
        if len(columns) > 1:
            several = " and ".join(columns)
            self._ask(
                relation,
                f"several columns name a tenant: {several}",
                [{"column": columns[0]}, {"via": columns}],
            )
            return
        [column] = columns
        found = relation.column(column)
        if column not in usual:
            self._unusual(relation, pointing[0])
        elif tenants is not None and not pointing:
            self._ask(
                relation,
                f"its column {column} has another type than the key of {tenants.name}",
                [{"column": column}],
            )
        elif found is not None and not found.not_null:
            self._nullable(relation, column)

    def _users_by_column(self) -> None:
        """Users whose own row names their tenant, which policies take for it: also those of no
        membership belong there."""
        users, memberships = self._known.landmarks.users, self._known.landmarks.memberships
        if users is None or memberships is None or memberships.relation == users.name:
            return
        told = {m.place for r in self._readings if r.relation == users.name for m in r.matches}
        for name in self._known.columns:
            column = users.column(name)
            if column is not None and column.not_null and Place(users.name, name) in told:
                reason = f"policies ask for its {name}, not for memberships"
                self._declare(users, {"column": name}, reason, Confidence.SURE)
                return

    def _unusual(self, relation: Relation, pointer: Pointer) -> None:
        """The only column that leads to the tenants, under a name of its own."""
        value = {"column": pointer.column}
        reason = f"its column {pointer.column} leads to {pointer.target}"
        said = set(subject(pointer.column)) - set(words(pointer.target.name))
        users = self._known.landmarks.users
        ways = [
            p
            for p in self._around.of(relation.name)
            if p.required
            and p.target not in (pointer.target, relation.name)
            and (users is None or p.target != users.name)
        ]
        if is_pointer(pointer.column) or not pointer.declared or ways:
            candidates = [{"via": ways[0].column}, value] if ways else [value]
            self._ask(relation, f"{reason}, but may not say whose the row is", candidates)
        elif pointer.required and said <= _OWNING:
            self._declare(relation, value, reason, Confidence.SURE)
        else:
            reason += "" if pointer.required else ", where it is set"
            self._declare(relation, value, reason, Confidence.LIKELY)

    def _addressed(self, relation: Relation, column: str) -> None:
        """Rows that may be of a user alone, and only speak of a tenant: an invitation, a notice."""
        users = self._known.landmarks.users
        persons = [] if users is None else self._around.of(relation.name)
        for person in persons:
            if users is None or person.target != users.name or not person.required:
                continue
            if self._agreement(relation, person.column):
                self._ask(
                    relation,
                    f"{column} may be NULL, and its policies ask for {person.column} alone",
                    [{"user": person.column}, {"column": column}],
                )
                return

    def _nullable(self, relation: Relation, column: str) -> None:
        """Rows without a tenant: everybody's, or nobody's?"""
        shown = any(column in r.shows_null for r in self._readings if r.relation == relation.name)
        if not shown:
            self._addressed(relation, column)
            return
        shared = {"column": column, "null": "shared"}
        told = any(
            u.predicate is not None and _says_null(u.predicate, column) for u in relation.uniques
        )
        if told:
            reason = f"a unique index keeps rows without {column} apart, and a policy shows them"
            self._declare(relation, shared, reason, Confidence.SURE)
            return
        self._ask(
            relation,
            f"{column} may be NULL, and a policy shows such rows to everybody",
            [shared, {"column": column, "null": "private"}],
        )

    def _own(self, relation: Relation) -> None:
        """Relations whose rows are about one user each."""
        users = self._known.landmarks.users
        if users is None:
            return
        pointers = [p for p in self._around.of(relation.name) if p.target == users.name]
        key = single_key(relation)
        profile = next((p for p in pointers if p.column == key), None)
        unique = {u.columns for u in relation.uniques if u.predicate is None}
        once = next((p for p in pointers if (p.column,) in unique), None)
        pointer = profile or once
        others = [
            p for p in self._around.of(relation.name) if p.target != users.name and p.required
        ]
        if pointer is None and len(pointers) == 1 and pointers[0].required and not others:
            pointer = pointers[0]
        if pointer is None:
            return
        value = {"user": pointer.column}
        reason = f"{pointer.column} leads to {users.name}, and nothing else to an owner"
        if profile is not None or once is not None:
            reason = f"one row for each user ({pointer.column} leads to {users.name})"
        match self._agreement(relation, pointer.column):
            case True:
                reason += "; its policies say the same"
                self._declare(relation, value, reason, Confidence.SURE)
            case None if Place(relation.name, pointer.column) in self._known.credentials:
                reason += "; policies find the session's user there"
                self._declare(relation, value, reason, Confidence.SURE)
            case None:
                self._declare(relation, value, reason, Confidence.LIKELY)
            case False:
                self._ask(
                    relation,
                    f"{reason}, but its policies show it to others too",
                    [{"members": pointer.column}, value, "shared"],
                )

    def _agreement(self, relation: Relation, column: str) -> bool | None:
        """Whether all policies of the relation compare that column with the session's user; None:
        there are none."""
        own = [r for r in self._readings if r.relation == relation.name]
        if not own or not relation.row_security:
            return None
        place = Place(relation.name, column)
        if place not in self._known.own_places:
            return False
        shown = self._alternatives(relation.name)
        return all(self._asks_user(r, place) for r in own) and all(place in a.own for a in shown)

    def _asks_user(self, reading: Reading, place: Place) -> bool:
        """Whether a policy compares the column with the session's user."""
        return any(m.place == place for m in reading.matches) or any(
            own == place and other in self._known.credentials for own, other in reading.lookups
        )

    def _ways(self) -> None:
        """Ways that resolution itself finds: sure where a row cannot be without its owner."""
        ownership = self._classified()
        for name, relation in self._around.tables.items():
            found = ownership[name]
            told = self._display(relation) in self._tables
            if found.kind is not OwnershipKind.VIA or told or name in self._doubts:
                continue
            required = all(
                (column := relation.column(c)) is not None and column.not_null
                for way in found.ways
                for c in way.columns
            )
            columns = [c for way in found.ways for c in way.columns]
            declared = any(
                set(way.columns) <= set(key.columns)
                for way in found.ways
                for key in relation.foreign_keys
            )
            texts: object = [
                ", ".join(way.columns)
                if declared
                else f"{way.columns[0]} -> {display(self._around, way.target)}."
                f"{way.target_columns[0]}"
                for way in found.ways
            ]
            if isinstance(texts, list) and len(texts) == 1 and len(columns) == 1:
                texts = texts[0]
            elif len(found.ways) == 1:
                texts = columns
            targets = " and ".join(str(way.target) for way in found.ways)
            reason = f"{' and '.join(columns)} leads to {targets}"
            if len(found.ways) > 1:
                self._ask(relation, f"it may belong to the owner of {targets}", [{"via": texts}])
            elif required and declared:
                self._declare(relation, {"via": texts}, reason, Confidence.SURE)
            elif required:
                reason += ", by its name only"
                sure = Confidence.SURE if self._speaks_by_names() else Confidence.LIKELY
                self._declare(relation, {"via": texts}, reason, sure)
            else:
                reason += ", where it is set"
                self._declare(relation, {"via": texts}, reason, Confidence.LIKELY)

    def _catalogue(self, relation: Relation) -> None:
        """What is the same for everybody."""
        found = self._is_catalogue(relation)
        if found is not None:
            self._declare(relation, "shared", *found)

    def _unknown(self, relation: Relation) -> None:
        """What nothing is known of, unless nobody can try anything there."""
        roles = self._known.roles
        if not roles or any(reaches_any(self._around, r, relation) for r in roles):
            text = "nothing says whose its rows are: no tenant column, no way to an owner"
            self._ask(relation, text, ["shared", "private"])

    def _widened(self) -> None:
        """Rows that policies mean to show to others: whether that is so, only a person can say."""
        marks = self._known.landmarks
        joined = marks.memberships.relation if marks.memberships is not None else None
        people = {r for r in (marks.users.name if marks.users is not None else None, joined) if r}
        tenants = marks.tenants.name if marks.tenants is not None else None
        ownership = self._classified()
        for found in widenings(self._around, self._readings, ownership, people, tenants):
            name = found.relation
            if name in self._doubts or ownership[name].kind in _NOT_OWNED:
                continue
            self._doubts[name] = found.text
            path = ("access", "*", self._display(self._around.tables[name]))
            candidates = ({"select": {"any": found.predicate}},)
            self._questions.append(Question(path, found.text, candidates))

    def _alternatives(self, name: RelationName) -> list[Alternative]:
        return [a for r in self._readings if r.relation == name for a in r.alternatives]

    def _is_catalogue(self, relation: Relation) -> tuple[str, Confidence] | None:
        around = self._around
        telling = [p for p in around.of(relation.name) if p.target != relation.name]
        secret = [c.name for c in relation.columns if set(words(c.name)) & SECRET_WORDS]
        readable = any(
            reaches(around.catalog, r, relation, Operation.SELECT) for r in self._known.roles
        )
        writable = any(
            reaches(around.catalog, r, relation, operation)
            for r in self._known.roles
            for operation in _WRITES
        )
        if telling or secret or not readable or writable:
            return None
        used = {p.relation for p in around.to(relation.name)}
        named = bool(set(words(relation.name.name)) & CATALOGUE_WORDS)
        reason = "members may read it and nobody may write it; it names no tenant and no user"
        if used:
            reason += f"; {' and '.join(sorted(str(u) for u in used)[:2])} refer to it"
        sure = named and bool(used or not relation.row_security)
        return reason, Confidence.SURE if sure or used else Confidence.LIKELY

    def _speaks_by_names(self) -> bool:
        """Whether the schema has next to no foreign keys, so that names are all it has."""
        tables = self._around.tables.values()
        return sum(bool(r.foreign_keys) for r in tables) * 5 <= len(tables)

    def _name_references(self) -> None:
        """Foreign keys that exist in name only."""
        tenants, users = self._known.landmarks.tenants, self._known.landmarks.users
        for pointer in self._around.pointers:
            landmark = (tenants, users)
            if pointer.declared or any(
                m is not None and pointer.target == m.name for m in landmark
            ):
                continue
            text = (
                f"{display(self._around, pointer.relation)}.{pointer.column} -> "
                f"{display(self._around, pointer.target)}.{pointer.target_column}"
            )
            self._references.append(text)
        if self._references:
            self._guesses.append(
                Guess(
                    ("tenancy", "references"),
                    list(self._references),
                    "columns named after a table, of its key's type, without a foreign key",
                    Confidence.SURE,
                )
            )

    def _platform(self) -> None:
        """Relations of the platform that the application does not use: nobody can reach them."""
        ownership = self._classified()
        for name in sorted(self._around.platform):
            relation = self._around.catalog.relations.get(name)
            if relation is None or relation.is_partition or relation is self._known.landmarks.users:
                continue
            known = ownership[name].kind is not OwnershipKind.UNCLASSIFIED
            reached = any(reaches_any(self._around, r, relation) for r in self._known.roles)
            if not known and not reached and relation.kind.value in ("table", "partitioned"):
                reason = "the application does not use it: no role of its reaches it"
                self._declare(relation, "private", reason, Confidence.SURE)

    def _spread(self) -> dict[RelationName, str]:
        """Doubts about a relation are doubts about all that belong to its rows' owners."""
        doubts = dict(self._doubts)
        ownership = self._classified()
        progress = True
        while progress:
            more = {
                name: f"it belongs to the owner of {way.target}, and that is not sure"
                for name, found in ownership.items()
                if name not in doubts
                for way in found.ways
                if way.target in doubts
            }
            doubts |= more
            progress = bool(more)
        return doubts


def reaches_any(around: Surroundings, role: Role, relation: Relation) -> bool:
    """Whether a role may try anything there."""
    return any(reaches(around.catalog, role, relation, operation) for operation in Operation)


def _says_null(predicate: str, column: str) -> bool:
    text = predicate.replace('"', "").strip("() ").lower()
    return text == f"{column.lower()} is null"
