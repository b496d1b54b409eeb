"""Identity: how policies learn who asks, as templates for the session's settings."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tenantfuzz.policies.inferring.landmarks import Evidence, Joining
from tenantfuzz.policies.inferring.pointers import Surroundings
from tenantfuzz.policies.inferring.readings import ROLE, Condition, Place, Reading, Source
from tenantfuzz.policies.inferring.words import ACTIVE_WORDS, words
from tenantfuzz.policies.lookup import single_key
from tenantfuzz.policies.quoting import qualified, readable_identifier
from tenantfuzz.policies.structure import Column, Relation, RelationName

_CLAIMS = "request.jwt.claims"
_OLD_CLAIM = "request.jwt.claim."  # PostgREST before version 9: one for each claim, or for all
_HEADERS = frozenset({"request.headers", "request.cookies"})
_UUID_NAMES = frozenset({"uuid"})


@dataclass(frozen=True, slots=True)
class People:
    """What principals are made of: the relations and columns that templates may speak of."""

    tenants: Relation | None
    tenant_key: str | None
    users: Relation | None
    user_key: str | None
    joining: Joining | None
    active: str | None  # the predicate that memberships in force satisfy
    tenant_places: frozenset[Place]
    user_places: frozenset[Place]


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a value of the session stands for. ``template`` is None where nothing shows it."""

    source: Source
    template: str | None = None
    query: str | None = None  # SQL that gives the value, with :user and :tenant
    word: str = ""  # tenant, user, membership or role
    places: tuple[Place, ...] = ()


@dataclass(slots=True)
class Mechanism:
    """Settings by name, and what is said of them."""

    settings: dict[str, object] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    unsure: set[str] = field(default_factory=set)
    unknown: list[Source] = field(default_factory=list)
    names_tenant: bool = False
    names_user: bool = False
    signed: bool = False  # the tenant comes in a claim that the caller cannot change
    header: bool = False  # the tenant comes in a header
    role: str | None = None  # the template of a role that is a tenant's own


def meanings(
    readings: Sequence[Reading], evidence: Evidence, around: Surroundings, people: People
) -> list[Meaning]:
    """What each source that policies read stands for, by the columns that it is compared with."""
    sources: dict[Source, set[Place]] = {}
    for reading in readings:
        for source in reading.sources:
            sources.setdefault(source, set())
    plurals: dict[Source, str] = {}
    for match in evidence.matches:
        plain = Source(match.source.setting, match.source.path)
        sources.setdefault(plain, set()).add(match.place)
        if match.source.plural:
            plurals[plain] = match.source.plural
    found = []
    for source, places in sorted(sources.items(), key=lambda item: str(item[0])):
        older = f"{source.setting}.".startswith(_OLD_CLAIM)
        if older and any(s.setting == _CLAIMS for s in sources):
            continue
        whole = Source(source.setting, source.path, plurals.get(source, ""))
        if (
            not source.path
            and source.setting != ROLE
            and any(s.setting == source.setting and s.path for s in sources)
        ):
            continue
        found.append(_meaning(whole, places, around, people))
    return found


def _meaning(source: Source, places: set[Place], around: Surroundings, people: People) -> Meaning:
    told = tuple(sorted(places, key=lambda p: (p.relation, p.column)))
    # A user's column goes first: whoever asks for its own membership names the tenant as well.
    if places & people.tenant_places:
        if source.plural:
            return Meaning(source, query=_tenants_of(source, people), word="tenant", places=told)
        return Meaning(source, "{tenant.id}", word="tenant", places=told)
    if places & people.user_places or source.path == ("sub",):
        return Meaning(source, "{user.id}", word="user", places=told)
    for place in told:
        for word, relation in (
            ("membership", people.joining.relation if people.joining else None),
            ("user", people.users.name if people.users else None),
            ("tenant", people.tenants.name if people.tenants else None),
        ):
            if place.relation == relation:
                return Meaning(source, f"{{{word}.{place.column}}}", word=word, places=told)
    for place in told:
        query = _credential(place, around, people)
        if query is not None:
            return Meaning(source, query=query, word="user", places=told)
    if source.path[-1:] == ("email",):
        return Meaning(source, "{user.email}", word="user", places=told)
    if source.path[-1:] == ("role",) and len(source.path) == 1:
        return Meaning(source, "{role}", word="role", places=told)
    return Meaning(source, places=told)


def _tenants_of(source: Source, people: People) -> str | None:
    """A query for the list of a user's tenants, in the form in which the setting holds it."""
    joining = people.joining
    if joining is None:
        return None
    column = f"m.{readable_identifier(joining.tenant)}"
    match source.plural:
        case "csv":
            value = f"string_agg({column}::text, ',' ORDER BY {column})"
        case "array":
            value = f"array_agg({column} ORDER BY {column})::text"
        case "json":
            value = f"jsonb_agg({column} ORDER BY {column})"
        case _:
            return None
    for key in reversed(source.path):
        value = f"jsonb_build_object('{key}', {value})"
    if source.path:
        value += "::text"
    user = f"m.{readable_identifier(joining.user)}"
    active = f" AND ({people.active})" if people.active is not None else ""
    return f"SELECT {value} FROM {qualified(joining.relation)} m WHERE {user} = :user{active}"


def _credential(place: Place, around: Surroundings, people: People) -> str | None:
    """A query for a session, a key or a token that belongs to the user or the tenant."""
    pointers = around.of(place.relation)
    user = next((p for p in pointers if people.users and p.target == people.users.name), None)
    tenant = next((p for p in pointers if people.tenants and p.target == people.tenants.name), None)
    if user is None and tenant is None:
        return None
    conditions = []
    if user is not None:
        conditions.append(f"{readable_identifier(user.column)} = :user")
    elif tenant is not None:
        conditions.append(f"{readable_identifier(tenant.column)} = :tenant")
    column = readable_identifier(place.column)
    return (
        f"SELECT {column}::text FROM {qualified(place.relation)} "
        f"WHERE {' AND '.join(conditions)} ORDER BY 1 LIMIT 1"
    )


def mechanism_of(
    found: Iterable[Meaning], preset: Mapping[str, str], role: str | None
) -> Mechanism:
    """The settings that make a principal known to the policies, beyond what the preset sets."""
    mechanism = Mechanism()
    documents: dict[str, dict[str, object]] = {}
    for meaning in found:
        source = meaning.source
        value = meaning.template
        if value == "{role}":
            value = role
        if meaning.word == "tenant":
            mechanism.names_tenant |= not source.plural
            mechanism.signed |= source.setting == _CLAIMS and "user_metadata" not in source.path
            mechanism.header |= source.setting in _HEADERS
        mechanism.names_user |= meaning.word in ("user", "membership")
        if source.setting == ROLE:
            if meaning.word in ("tenant", "user", "membership"):
                mechanism.role = value if mechanism.role in (None, value) else None
            continue
        if meaning.query is not None and not source.path:
            mechanism.settings[source.setting] = {"sql": meaning.query}
        elif meaning.query is not None:
            mechanism.settings[source.setting] = {"sql": meaning.query}
            mechanism.unsure.add(source.setting)
        elif value is None:
            mechanism.unknown.append(source)
            continue
        elif source.path:
            _put(documents.setdefault(source.setting, {}), source.path, value)
        else:
            mechanism.settings[source.setting] = value
        mechanism.reasons.setdefault(source.setting, _compared(meaning))
    for setting, document in documents.items():
        if setting in mechanism.settings:
            mechanism.unsure.add(setting)  # one setting cannot be a query and a document
            continue
        whole = _document(preset.get(setting))
        if _covers(whole, document):
            mechanism.reasons.pop(setting, None)
            continue
        for path, leaf in _leaves(document):
            _put(whole, path, leaf)
        mechanism.settings[setting] = json.dumps(whole, ensure_ascii=False)
    return mechanism


def _document(text: str | None) -> dict[str, object]:
    loaded: object = json.loads(text) if text else {}
    return loaded if isinstance(loaded, dict) else {}


def _put(table: dict[str, object], path: Sequence[str], value: object) -> None:
    *outer, last = path
    for key in outer:
        inner = table.setdefault(key, {})
        if not isinstance(inner, dict):
            return
        table = inner
    table.setdefault(last, value)


def _leaves(table: Mapping[str, object]) -> Iterable[tuple[tuple[str, ...], object]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from (((key, *path), leaf) for path, leaf in _leaves(value))
        else:
            yield (key,), value


def _covers(whole: Mapping[str, object], part: Mapping[str, object]) -> bool:
    return all(
        isinstance(whole.get(key), dict) and _covers(whole[key], value)  # type: ignore[arg-type]  # just checked
        if isinstance(value, dict)
        else key in whole
        for key, value in part.items()
    )


def _compared(meaning: Meaning) -> str:
    if not meaning.places:
        return f"policies read {meaning.source}"
    named = [f"{place.relation}.{place.column}" for place in meaning.places[:2]]
    more = ", …" if len(meaning.places) > 2 else ""
    return f"policies compare {meaning.source} with {', '.join(named)}{more}"


# Active memberships, and who vouches for the tenant


def active_predicate(
    readings: Sequence[Reading], joining: Joining, around: Surroundings
) -> tuple[str | None, str, tuple[str, ...]]:
    """What policies ask of a membership for it to be in force, and why. Where a column says that
    memberships end and no policy reads it: None, that remark, and predicates that may be meant."""
    relation = around.catalog.relations[joining.relation]
    conditions = {
        condition.sql
        for reading in readings
        for condition in reading.conditions
        if condition.relation == joining.relation and _tells_activity(condition, joining)
    }
    if conditions:
        parts = [f"({c})" if len(conditions) > 1 and " OR " in c.upper() else c for c in conditions]
        sql = " AND ".join(sorted(parts))
        return sql, f"policies ask {sql} of rows of {joining.relation}", ()
    for column in relation.columns:
        candidates = [] if column.name in (joining.user, joining.tenant) else activity(column)
        if candidates:
            text = (
                f"{joining.relation}.{column.name} seems to say that a membership ended, "
                "and no policy reads it"
            )
            return None, text, tuple(candidates)
    return None, "", ()


def _tells_activity(condition: Condition, joining: Joining) -> bool:
    return all(
        set(words(c)) & ACTIVE_WORDS and c not in (joining.user, joining.tenant)
        for c in condition.columns
    )


def activity(column: Column) -> list[str]:
    """Predicates that a column's name suggests for memberships in force."""
    said = set(words(column.name))
    name = readable_identifier(column.name)
    if not said & ACTIVE_WORDS:
        return []
    if column.type.base in ("timestamptz", "timestamp", "date") and said & {
        "deleted", "removed", "revoked", "left", "archived", "suspended", "ended", "deactivated",
        "disabled", "terminated", "banned", "blocked",
    }:  # fmt: skip
        return [f"{name} IS NULL"]
    if column.type.base == "bool":
        negative = said & {
            "disabled",
            "deleted",
            "removed",
            "revoked",
            "banned",
            "blocked",
            "inactive",
        }
        return (
            [f"NOT {name}"]
            if negative
            else [name]
            if said & {"active", "enabled", "accepted"}
            else []
        )
    if said & {"status", "state"} and "active" in column.type.labels:
        return [f"{name} = 'active'"]
    return []


def vouching(
    readings: Sequence[Reading], found: Sequence[Meaning], people: People
) -> tuple[int, int]:
    """How many policies check that the user is a member of the tenant that the session names, and
    how many take the tenant as it comes."""
    joining = people.joining
    naming = {m.source for m in found if m.word == "tenant"}
    if joining is None:
        return 0, 0
    checked = unchecked = 0
    inside = {Place(joining.relation, joining.tenant)}
    about = Place(joining.relation, joining.user)
    for reading in readings:
        named = [
            m
            for m in reading.matches
            if Source(m.source.setting, m.source.path, "")
            in {Source(s.setting, s.path, "") for s in naming}
            and m.place in people.tenant_places
        ]
        asked = {m.query for m in reading.matches if m.place == about}
        if any(m.place in inside and m.query in asked for m in named):
            checked += 1
        elif any(m.place not in inside for m in named):
            unchecked += 1
    return checked, unchecked


def users_need_uuids(found: Sequence[Meaning], around: Surroundings, people: People) -> bool:
    """Whether the users' key is text although the session holds it as a uuid (``auth.uid()``)."""
    if people.users is None or people.user_key is None:
        return False
    key = people.users.column(people.user_key)
    if key is None or key.type.base in _UUID_NAMES:
        return False
    if not any(m.word == "user" and m.source.setting == _CLAIMS for m in found):
        return False
    return (
        any(
            f.name == RelationName("auth", "uid") and f.result == "uuid"
            for f in around.catalog.functions
        )
        and single_key(people.users) is not None
    )
