"""Prepares a target: its schema in a scratch database, its catalog, model and population plan."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import psycopg
from psycopg import sql

from tenantfuzz.application.declared import declared_queries
from tenantfuzz.assumptions import assume, is_silent
from tenantfuzz.catalog import read_catalog
from tenantfuzz.engines import Server, open_engine, scratch_name
from tenantfuzz.errors import ToolError
from tenantfuzz.lending import LentConnection
from tenantfuzz.live.copying import Structure, copy_structure, read_structure, rows_note
from tenantfuzz.live.platforms import platform_of
from tenantfuzz.live.pruning import prune
from tenantfuzz.live.restoration import LostKey
from tenantfuzz.loading.loader import load_sources, schema_hash
from tenantfuzz.loading.sources import SourceFile, find_sources
from tenantfuzz.loading_worlds import WorldLoader
from tenantfuzz.patience import SECONDS
from tenantfuzz.policies.configuration import Attacker, Configuration, ConfigurationError
from tenantfuzz.policies.inferring.marks import preset_in_catalog
from tenantfuzz.policies.model import Model, Ownership, OwnershipKind
from tenantfuzz.policies.resolution import PresetFacts, attacker_of, resolve_model
from tenantfuzz.policies.structure import Catalog, Function, RelationKind, RelationName
from tenantfuzz.policies.world import Values, World
from tenantfuzz.presets.preset import Preset, load_preset
from tenantfuzz.sequences import MOVED_ON
from tenantfuzz.stage import Stage
from tenantfuzz.strategies.dictionary import Dictionary, build_dictionary
from tenantfuzz.target import Target, resolve_reference
from tenantfuzz.wire import Clock, Wire

_LOADING_SECONDS = 900.0  # for one statement of the target's own files
_MOST_EXISTING = 200  # rows that a migration inserted, by relation: more are reference data


@dataclass(frozen=True, slots=True)
class Prepared:
    """A target that is ready: ``database`` on ``server`` holds its empty schema."""

    target: Target
    server: Server
    database: str
    catalog: Catalog
    model: Model
    attacker: Attacker
    dictionary: Dictionary
    existing: Mapping[RelationName, tuple[Values, ...]]
    hash: str
    warnings: tuple[str, ...]
    clock: Clock
    pristine: str  # a copy of the schema that nobody connects to, for databases made from it
    platform: frozenset[RelationName] = frozenset()  # what the preset brought
    doors: tuple[Function, ...] = ()  # functions of the target, not of its preset
    missing: tuple[tuple[str, str, str], ...] = ()  # name, operation, why it could not be copied
    closing: ExitStack = field(default_factory=ExitStack)  # what ends with it
    kept: dict[str, object] = field(default_factory=dict)  # of others, for as long as it lasts

    @property
    def configuration(self) -> Configuration:
        """The target's configuration."""
        return self.target.configuration

    def heard(self, statements: Sequence[str]) -> Dictionary:
        """The dictionary with what the application's code was heard to send."""
        return _dictionary(self.catalog, self.target, statements)

    @contextmanager
    def stage(
        self, loader: WorldLoader | None = None, *, database: str | None = None
    ) -> Iterator[Stage]:
        """A stage on a fresh connection, on which no setting was ever used; on the empty schema,
        or on the ``database`` of a committed world."""
        connection = connect(self.server, database or self.database)
        try:
            stage = Stage(
                Wire(connection, self.clock),
                self.catalog,
                self.model,
                loader or self.loader(),
            )
            stage.prepare()
            yield stage
        finally:
            connection.close()

    @contextmanager
    def committed(self, world: World, loader: WorldLoader) -> Iterator[str]:
        """The name of a database of its own in which ``world`` is committed, for what needs
        several connections or a fresh one. It is dropped at the end."""
        name = scratch_name("world")
        self.server.create_database(name, template=self.pristine)
        try:
            with self.stage(loader, database=name) as stage:
                stage.open(world)
                stage.commit()
            yield name
        finally:
            drop(self.server, name)

    def loader(self) -> WorldLoader:
        """A loader for this catalog's worlds."""
        return WorldLoader(self.catalog, deferrable=is_deferrable(self.catalog))


def is_deferrable(catalog: Catalog) -> bool:
    """Whether any constraint may be checked as late as at commit."""
    return any(fk.deferrable for r in catalog.relations.values() for fk in r.foreign_keys) or any(
        u.deferrable for r in catalog.relations.values() for u in r.uniques
    )


def connect(server: Server, database: str, *, patience: float = SECONDS) -> psycopg.Connection[Any]:
    """A connection of the trusted role, in autocommit: transactions are the caller's business.
    ``patience`` is how many seconds one answer may take."""
    try:
        return LentConnection.open(server.conninfo(database), patience=patience)
    except psycopg.OperationalError as error:
        raise ToolError(
            f"cannot connect to the scratch database {database}: {str(error).strip()}",
            hint="is the server still running, and has it free connections?",
        ) from error


def _dictionary(catalog: Catalog, target: Target, heard: Sequence[str] = ()) -> Dictionary:
    return build_dictionary(
        catalog, [*(q.text.indexed() for q in declared_queries(target)), *heard]
    )


@contextmanager
def prepare(
    target: Target,
    *,
    engine: str | None = None,
    server_dsn: str | None = None,
    postgres: str | None = None,
) -> Iterator[Prepared]:
    """Opens the engine, loads the target into a scratch database, reads and resolves it.

    ``postgres`` is the version of an embedded server. Everything is removed at the end. Raises
    ToolError for anything that is wrong with the target.
    """
    with _scratch(target, engine, server_dsn, postgres) as (server, database, loaded):
        prepared = _resolved(target, server, database, loaded)
        with prepared.closing:
            yield prepared


@dataclass(frozen=True, slots=True)
class Survey:
    """A target's catalog, before anything is said of tenants: what the preset and the platform
    bring, and what loading warned of."""

    catalog: Catalog
    preset: Preset | None
    facts: PresetFacts | None
    platform: frozenset[RelationName]
    warnings: tuple[str, ...]


def survey(target: Target, *, engine: str | None = None, server_dsn: str | None = None) -> Survey:
    """Loads the target into a scratch database and reads its catalog; nothing of it remains."""
    with _scratch(target, engine, server_dsn, None) as (server, database, loaded):
        with connect(server, database) as connection:
            catalog = read_catalog(connection)
        facts = _facts(loaded.preset)
        return Survey(catalog, loaded.preset, facts, loaded.platform, loaded.warnings)


@contextmanager
def _scratch(
    target: Target, engine: str | None, server_dsn: str | None, postgres: str | None
) -> Iterator[tuple[Server, str, "_Loaded"]]:
    """A scratch database with the target in it, removed at the end."""
    section = target.configuration.target
    preset = load_preset(section.preset) if section.preset else None
    content: list[SourceFile] | Structure
    if section.dsn is not None:
        content = read_structure(resolve_reference(section.dsn, "target.dsn"))
    else:
        content = find_sources(section.sources, target.root)
    dsn = server_dsn
    if dsn is None and section.server is not None:
        dsn = resolve_reference(section.server, "target.server")
    name = engine or section.engine.value
    with open_engine(name, server_dsn=dsn, postgres=postgres) as server:
        database = scratch_name()
        server.create_database(database)
        try:
            if isinstance(content, Structure):
                loaded = _copy(target, content, server, database, preset)
            else:
                loaded = _run(target, server, database, content, preset)
            yield server, database, loaded
        finally:
            if drop(server, database):
                drop(server, _pristine(database))


def _pristine(database: str) -> str:
    return f"{database}_p"


def drop(server: Server, database: str) -> bool:
    """Removes a scratch database, if the server is still there to do it; returns whether it was."""
    try:
        server.drop_database(database)
    except (ToolError, psycopg.Error):
        return False  # the server is gone, and an embedded one takes its databases along
    return True


def _resolved(target: Target, server: Server, database: str, loaded: "_Loaded") -> Prepared:
    configuration = target.configuration
    with connect(server, database) as connection:
        catalog = read_catalog(connection)
        facts = _facts(loaded.preset)
        pruned = prune(configuration, catalog, loaded.absent, loaded.lost_keys)
        configuration = pruned.configuration
        target = replace(target, configuration=configuration)
        assumed = None
        if is_silent(target):
            assumed = assume(target, catalog, facts, loaded.platform)
            target, configuration = assumed.target, assumed.target.configuration
        try:
            model = resolve_model(configuration, catalog, facts)
        except ConfigurationError as error:
            raise ToolError(str(error), hint=error.hint) from error
        existing = _existing(connection, catalog)
        connection.execute(MOVED_ON)
    doubts = {**loaded.unfaithful, **pruned.doubts}
    model = _distrusting(model, {**doubts, **(assumed.doubts if assumed else {})})
    notes = rows_note(model, loaded.platform) if configuration.target.dsn is not None else ()
    server.create_database(_pristine(database), template=database)
    return Prepared(
        target=target,
        server=server,
        database=database,
        catalog=catalog,
        model=model,
        attacker=attacker_of(configuration, facts),
        dictionary=_dictionary(catalog, target),
        existing=existing,
        hash=loaded.hash,
        warnings=(*target.assumed, *(assumed.lines if assumed else ()), *loaded.warnings, *notes),
        clock=Clock(),
        pristine=_pristine(database),
        platform=loaded.platform,
        doors=tuple(f for f in catalog.functions if f.oid not in loaded.brought),
        missing=loaded.missing,
    )


@dataclass(frozen=True, slots=True)
class _Loaded:
    """What is in the scratch database: relations and functions (by oid) that are the platform's,
    and what is not in it, though the target has it."""

    hash: str
    warnings: tuple[str, ...]
    platform: frozenset[RelationName] = frozenset()
    brought: frozenset[int] = frozenset()
    missing: tuple[tuple[str, str, str], ...] = ()
    unfaithful: Mapping[RelationName, str] = field(default_factory=dict)
    absent: frozenset[RelationName] = frozenset()
    lost_keys: tuple[LostKey, ...] = ()
    preset: Preset | None = None


def _run(
    target: Target, server: Server, database: str, sources: list[SourceFile], preset: Preset | None
) -> _Loaded:
    """Runs the preset and the target's files on the scratch database."""
    with connect(server, database, patience=_LOADING_SECONDS) as connection:
        if preset is not None and preset.sql:
            connection.execute(preset.sql.encode())
        platform = read_catalog(connection) if preset is not None else None
        for extension in target.configuration.target.extensions:
            _extend(connection, extension)
        warnings = load_sources(connection, sources, psql=server.conninfo(database))
    return _Loaded(
        hash=schema_hash(sources),
        warnings=tuple(warnings),
        platform=frozenset(platform.relations) if platform is not None else frozenset(),
        brought=frozenset(f.oid for f in platform.functions) if platform else frozenset(),
        preset=preset,
    )


def _copy(
    target: Target, structure: Structure, server: Server, database: str, preset: Preset | None
) -> _Loaded:
    """Copies a live database, which has what the preset would bring."""
    restored = copy_structure(structure, server, database)
    with connect(server, database) as connection:
        catalog = read_catalog(connection)
    if preset is None and is_silent(target) and (mark := preset_in_catalog(catalog)) is not None:
        preset = load_preset(mark[0])
    platform = platform_of(preset, catalog, server, structure.place)
    return _Loaded(
        hash=structure.hash,
        warnings=restored.warnings,
        platform=platform.relations,
        brought=platform.functions | restored.stand_ins,
        missing=restored.missing,
        unfaithful=restored.unfaithful,
        absent=restored.absent,
        lost_keys=restored.lost_keys,
        preset=preset,
    )


def _distrusting(model: Model, unfaithful: Mapping[RelationName, str]) -> Model:
    """``model`` without a word on relations that differ from those of the live database."""
    known = {
        name: Ownership(OwnershipKind.UNCLASSIFIED, reason=reason)
        for name, reason in unfaithful.items()
        if name in model.ownership
    }
    return replace(model, ownership={**model.ownership, **known}) if known else model


def _extend(connection: psycopg.Connection[Any], name: str) -> None:
    statement = sql.SQL("CREATE EXTENSION IF NOT EXISTS {} CASCADE").format(sql.Identifier(name))
    try:
        connection.execute(statement)
    except psycopg.Error as error:
        raise ToolError(
            f"target.extensions: the server cannot make the extension {name!r}: {error}",
            hint='use an engine that has it: a server of your own, by engine = "server"',
        ) from error


def _facts(preset: Preset | None) -> PresetFacts | None:
    if preset is None:
        return None
    return PresetFacts(
        classification=preset.classification,
        login=preset.login,
        role=preset.role,
        anonymous=preset.anonymous,
        service_role=preset.service_role,
        settings=preset.settings,
        users=preset.users,
        attacker=preset.attacker,
    )


def _existing(
    connection: psycopg.Connection[Any], catalog: Catalog
) -> dict[RelationName, tuple[Values, ...]]:
    """Rows that the schema itself inserted, as text."""
    existing: dict[RelationName, tuple[Values, ...]] = {}
    for name, relation in catalog.relations.items():
        if relation.kind not in (RelationKind.TABLE, RelationKind.PARTITIONED):
            continue
        if relation.parent is not None:
            continue
        columns = [c.name for c in relation.columns]
        if not columns:
            continue
        parts = sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(c)) for c in columns)
        query = sql.SQL("SELECT {} FROM {} LIMIT {}").format(
            parts,
            sql.Identifier(name.schema, name.name),
            sql.Literal(_MOST_EXISTING),
        )
        rows = connection.execute(query).fetchall()
        if rows:
            existing[name] = tuple(dict(zip(columns, row, strict=True)) for row in rows)
    return existing
