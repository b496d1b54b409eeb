"""The doctor: looks a target over, and says what would make verdicts on it worthless."""

import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from time import perf_counter

from tenantfuzz.catalog import read_catalog
from tenantfuzz.diagnosis import Check, Diagnosis, Level
from tenantfuzz.errors import ToolError
from tenantfuzz.identity import bypasses_row_security, is_closed
from tenantfuzz.policies.inferring.pointers import survey
from tenantfuzz.policies.inferring.session import read_defaults, read_policies
from tenantfuzz.policies.model import Model, OwnershipKind, SqlTemplate
from tenantfuzz.policies.predictions import Prediction
from tenantfuzz.policies.principals import Principal
from tenantfuzz.policies.quoting import qualified
from tenantfuzz.policies.structure import Operation, Relation, RelationKind, RelationName, Role
from tenantfuzz.policies.suggestions import nearest
from tenantfuzz.preparation import Prepared, connect, prepare
from tenantfuzz.rehearsal import rehearse
from tenantfuzz.strategies.plan import Plan
from tenantfuzz.strategies.worlds import designed_worlds
from tenantfuzz.target import Target

_FEW = 5
_TABLES = (RelationKind.TABLE, RelationKind.PARTITIONED)
_SETTING = re.compile(r"current_setting\(\s*'([^']+)'", re.IGNORECASE)
_PARTS = re.compile(r"request\.jwt\.claim\.")


def diagnose(
    target: Target, *, engine: str | None = None, server_dsn: str | None = None
) -> Diagnosis:
    """Everything that can be said of a target without a campaign. What fails is a check too."""
    checks: list[Check] = []
    timings: list[tuple[str, float]] = []
    begun = perf_counter()
    with ExitStack() as stack:
        try:
            prepared = stack.enter_context(prepare(target, engine=engine, server_dsn=server_dsn))
        except ToolError as error:
            return Diagnosis(target.name, (Check("target", Level.ERROR, str(error), error.hint),))
        whole = perf_counter() - begun
        begun = perf_counter()
        with connect(prepared.server, prepared.database) as connection:
            read_catalog(connection)
        catalog = perf_counter() - begun
        timings += [("server and schema", max(whole - catalog, 0.0)), ("catalog", catalog)]
        visit = _Visit(prepared, engine)
        try:
            checks += visit.checks(timings)
        except ToolError as error:
            checks.append(Check("population", Level.ERROR, str(error), error.hint))
    return Diagnosis(target.name, tuple(checks), tuple(timings))


class _Visit:
    def __init__(self, prepared: Prepared, engine: str | None) -> None:
        self._prepared = prepared
        self._engine = engine or prepared.configuration.target.engine.value
        self._catalog = prepared.catalog
        self._model: Model = prepared.model

    def checks(self, timings: list[tuple[str, float]]) -> Iterator[Check]:
        server = self._prepared.server
        message = f"PostgreSQL {server.version_text}, engine {self._engine}"
        yield Check("server", Level.OK, message)
        owned = [r for r in self._catalog.relations.values() if self._is_owned(r)]
        judged = f"{len(owned)} relations with owners, {len(self._catalog.relations)} in all"
        yield Check("target", Level.OK if owned else Level.ERROR, f"{judged}")
        for warning in self._prepared.warnings:
            level = (
                Level.OK if warning.startswith(("assumed", "no tenantfuzz.toml")) else Level.WARNING
            )
            yield Check("target", level, warning)
        yield from self._roles(owned)
        yield from self._settings()
        yield from self._relations()
        yield from self._world(timings, owned)

    def _is_owned(self, relation: Relation) -> bool:
        kind = self._model.owner_of(relation.name).kind
        return relation.kind in _TABLES and kind not in (
            OwnershipKind.UNCLASSIFIED,
            OwnershipKind.SHARED,
            OwnershipKind.PRIVATE,
        )

    # Roles

    def _acting(self) -> list[Role]:
        identity = self._model.identity
        names = [
            identity.role if identity.role is not None else identity.login,
            identity.anonymous,
            *(k.role or k.login for k in self._model.kinds),
        ]
        known = self._catalog.roles
        return [known[n] for n in dict.fromkeys(names) if isinstance(n, str) and n in known]

    def _roles(self, owned: list[Relation]) -> Iterator[Check]:
        for role in self._acting():
            unbound: dict[str, list[str]] = {}
            for relation in owned:
                if (why := bypasses_row_security(role, relation)) is not None:
                    unbound.setdefault(why, []).append(str(relation.name))
            for why, relations in unbound.items():
                message = f"the policies are decoration here: {why} ({_listed(relations)})"
                hint = "let the application act as a role that owns nothing, or FORCE row security"
                yield Check("roles", Level.WARNING, message, hint)
            reachable = [
                r
                for r in owned
                if any(not is_closed(role, r, o.value, self._catalog) for o in Operation)
            ]
            open_tables = [str(r.name) for r in reachable if not r.row_security]
            if open_tables and not role.superuser:
                message = (
                    f"row security is off for {role.name} on {_listed(open_tables)}: whoever acts "
                    "as it reaches every row"
                )
                yield Check("roles", Level.WARNING, message, "ENABLE ROW LEVEL SECURITY there")
            anonymous = role.name == self._model.identity.anonymous
            if not reachable and not anonymous:
                message = f"{role.name} may do nothing on any relation with owners"
                yield Check("roles", Level.ERROR, message, "GRANT what the application needs")
            elif not unbound:
                message = f"{role.name} is bound by policies; it reaches {len(reachable)} relations"
                yield Check("roles", Level.OK, message)

    # Identity

    def _settings(self) -> Iterator[Check]:
        read = self._read_settings()
        given = self._given_settings()
        for name in sorted(given):
            parts = any(_PARTS.match(r) for r in read) and name == "request.jwt.claims"
            if name not in read and not parts:
                near = nearest(name, read)
                hint = f"they read {near}" if near else "nothing in the schema reads any like it"
                message = f"the setting {name} is read by no policy, function, trigger or view"
                yield Check("identity", Level.WARNING, message, hint)
            else:
                yield Check("identity", Level.OK, f"policies read {name}, which is set")
        unset = sorted(
            source.setting
            for source in {s for r in read_policies(self._catalog) for s in r.sources}
            if source.setting and source.setting not in given and not _PARTS.match(source.setting)
        )
        if unset and not self._model.identity.statements:
            message = f"policies read {_listed(unset)}, which [identity] never sets"
            hint = "set it under [identity.settings], if members have it"
            yield Check("identity", Level.WARNING, message, hint)

    def _given_settings(self) -> set[str]:
        settings: dict[str, str | SqlTemplate] = dict(self._model.identity.settings)
        for kind in self._model.kinds:
            settings |= kind.settings
        return set(settings)

    def _read_settings(self) -> set[str]:
        texts = [f.source for f in self._catalog.functions]
        for relation in self._catalog.relations.values():
            texts += [t for p in relation.policies for t in (p.using, p.check) if t]
            texts += [t.source for t in relation.triggers]
            texts += [c.default for c in relation.columns if c.default]
            texts.append(relation.definition or "")
        found = {name for text in texts for name in _SETTING.findall(text)}
        return found | {m.source.setting for m in read_defaults(self._catalog)}

    # Relations

    def _relations(self) -> Iterator[Check]:
        roles = self._acting()
        by_reason: dict[str, list[str]] = {}
        for name, relation in self._catalog.relations.items():
            if relation.kind not in _TABLES or relation.is_partition:
                continue
            ownership = self._model.owner_of(name)
            reached = any(
                not is_closed(role, relation, operation.value, self._catalog)
                for role in roles
                for operation in Operation
            )
            if ownership.kind is OwnershipKind.UNCLASSIFIED and reached:
                by_reason.setdefault(ownership.reason, []).append(str(name))
        for reason, names in sorted(by_reason.items()):
            message = (
                f"untested, since nothing says whose its rows are: {_listed(names)} ({reason})"
            )
            hint = "say it under [tenancy.tables]; tenantfuzz init proposes what it can"
            yield Check("relations", Level.WARNING, message, hint)
        yield from self._shared()

    def _shared(self) -> Iterator[Check]:
        """Relations that are declared shared, yet have a way to a tenant."""
        around = survey(self._catalog, self._prepared.platform)
        for name in sorted(around.tables):
            if self._model.owner_of(name).kind is not OwnershipKind.SHARED:
                continue
            ways = [
                p
                for p in around.of(name)
                if p.target == self._model.tenants
                or self._model.owner_of(p.target).kind
                in (OwnershipKind.COLUMN, OwnershipKind.VIA, OwnershipKind.USER)
            ]
            if ways:
                told = ", ".join(f"{p.column} leads to {p.target}" for p in ways[:3])
                message = f"{name} is shared, so all may read it; but {told}"
                hint = f'if its rows are somebody\'s: {name.name} = {{ via = "{ways[0].column}" }}'
                yield Check("relations", Level.WARNING, message, hint)

    # A world

    def _world(self, timings: list[tuple[str, float]], owned: list[Relation]) -> Iterator[Check]:
        begun = perf_counter()
        loader = self._prepared.loader()
        plan = rehearse(self._prepared, loader, seed=0)
        timings.append(("rehearsal", perf_counter() - begun))
        for relation, reason in plan.unpopulated.items():
            if relation not in self._prepared.platform:
                message = f"no rows can be made for {relation}: {reason}"
                hint = "[values] in the file gives values that the schema accepts"
                yield Check("population", Level.WARNING, message, hint)
        begun = perf_counter()
        world = designed_worlds(plan, seed=0, count=1)[0]
        with self._prepared.stage(loader) as stage:
            refused = stage.open(world)
            timings.append(("world", perf_counter() - begun))
            if refused:
                message = f"{len(refused)} of {len(world.rows)} rows of a world were refused"
                yield Check("population", Level.WARNING, message, refused[0].failure.message)
            else:
                yield Check("population", Level.OK, f"a world of {len(world.rows)} rows stands")
            ground = stage.prediction()
            members = [p for p in stage.principals() if not p.hostile and p.memberships]
            begun = perf_counter()
            seen = {
                principal: dict(
                    zip(
                        [r.name for r in owned],
                        [
                            -1 if o.failure is not None else len(o.rows)
                            for o in stage.read(principal, [_counting(r) for r in owned])
                        ],
                        strict=True,
                    )
                )
                for principal in _one_of_each(members)
            }
            timings.append(("one batch", perf_counter() - begun))
            yield from self._effects(seen, ground, owned, plan)
            stage.close()

    def _effects(
        self,
        seen: Mapping[Principal, Mapping[RelationName, int]],
        ground: Prediction,
        owned: list[Relation],
        plan: Plan,
    ) -> Iterator[Check]:
        """Whether any member sees any row of its own where policies decide."""
        if not seen:
            yield Check("identity", Level.ERROR, "no member arose in a generated world")
            return
        bound = [r for r in owned if r.row_security and r.name in plan.order]
        for principal, counts in seen.items():
            own = {
                r.name: len(ground.state[r.name]) - len(ground.hidden(principal, r.name))
                for r in bound
                if r.name in ground.state
            }
            role = self._catalog.roles.get(principal.acting_role or "")
            there = [
                name
                for name, number in own.items()
                if number > 0
                and role is not None
                and not is_closed(role, self._catalog.relations[name], "select", self._catalog)
            ]
            shown = [name for name in there if counts.get(name, 0) > 0]
            if there and not shown:
                message = (
                    f"the identity never takes effect: a {principal.kind} sees none of its own "
                    f"rows in any of {len(there)} relations with policies"
                )
                hint = "compare [identity] with what the policies read; tenantfuzz init shows it"
                yield Check("identity", Level.ERROR, message, hint)
            elif there:
                message = (
                    f"a {principal.kind} sees rows of its own in {len(shown)} of {len(there)} "
                    "relations with policies"
                )
                yield Check("identity", Level.OK, message)


def _counting(relation: Relation) -> str:
    return f"SELECT 1 FROM {qualified(relation.name)}"


def _one_of_each(principals: list[Principal]) -> list[Principal]:
    found: dict[str, Principal] = {}
    for principal in principals:
        found.setdefault(principal.kind, principal)
    return list(found.values())


def _listed(names: list[str]) -> str:
    return ", ".join(names[:_FEW]) + (f" and {len(names) - _FEW} more" if len(names) > _FEW else "")
