"""A script for plain psql that shows a leak on a fresh, empty database."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from tenantfuzz.counterexample import CODE, Counterexample, Step
from tenantfuzz.errors import ToolError
from tenantfuzz.live.copying import read_structure
from tenantfuzz.live.script import structure_script
from tenantfuzz.loading.cluster import created_role, why_skipped
from tenantfuzz.loading.meta import MetaCommand, MetaEffect, parse_meta
from tenantfuzz.loading.sections import forward_part
from tenantfuzz.loading.sources import SourceFile, find_sources, read_source
from tenantfuzz.loading.statements import Statement, StatementKind, split_statements
from tenantfuzz.loading_worlds import fixup_statement, insert_statement
from tenantfuzz.policies.principals import Freshness, Principal
from tenantfuzz.policies.quoting import identifier, literal
from tenantfuzz.policies.world import Row, World
from tenantfuzz.presets.preset import load_preset
from tenantfuzz.scrubbing import scrub
from tenantfuzz.sequences import SCRIPTED
from tenantfuzz.target import Target, resolve_reference

_RESET = "RESET SESSION AUTHORIZATION;\nRESET ALL;\nSET client_min_messages = warning;"
_INSERTED = re.compile(r"\binsert\s+into\s+([\w.\"]+)", re.IGNORECASE)
_COUNTING = re.compile(r"\b(serial[248]?|(big|small)serial|identity|nextval)\b", re.IGNORECASE)


def psql_script(counterexample: Counterexample, target: Target) -> str:
    """One self-contained script: the schema, the world, the identity, the steps.

    It wants an empty database and a superuser's connection; the world is rolled back at the end,
    the schema stays. Its exit status is not 0 where a step is refused, as it should be once the
    leak is mended (but for TF3xx, where the refusal itself tells). Raises ToolError where the
    target's sources cannot be read.
    """
    schema = "\n".join(_schema(target))
    witness = counterexample.witness
    parts = [
        *_header(counterexample),
        "\\set ON_ERROR_STOP on",
        "\\encoding UTF8",
        "SET client_min_messages = warning;",
        _echo("loading the schema"),
        schema,
        "",
        "-- A new connection: settings of roles and of the database are in force, no others.",
        "\\connect -",
        *_earlier(witness.principal),
        "BEGIN;",
        "",
        "-- The world.",
        _echo("loading the world"),
        "SET LOCAL client_min_messages = warning;",
        "SET CONSTRAINTS ALL DEFERRED;",
        *_world(witness.world, schema),
        "SET CONSTRAINTS ALL IMMEDIATE;",
        *([SCRIPTED] if _COUNTING.search(schema) else []),
        "",
        *_identity(_actor(counterexample), schema),
        "",
        *_steps(counterexample),
        "",
        "ROLLBACK;",
    ]
    return "\n".join(parts) + "\n"


def _header(counterexample: Counterexample) -> list[str]:
    finding = counterexample.finding
    return [
        *_comment(f"{finding.id} ({finding.severity.value})"),
        *_comment(finding.title),
        "--",
        *_comment(finding.explanation),
        *_comment(f"culprits: {', '.join(finding.culprits)}" if finding.culprits else ""),
        "--",
        "-- Run it as a superuser on an empty database that you can do without:",
        "--   createdb shows_a_leak && psql -X -d shows_a_leak -f THIS_FILE",
        *_comment(f"Found on PostgreSQL {counterexample.server_version} by tenantfuzz."),
        "",
    ]


def _comment(text: str) -> list[str]:
    return [f"-- {line}".rstrip() for line in re.split(r"[\r\n]+", scrub(text)) if line.strip()]


def _echo(text: str) -> str:
    """A line of psql that prints ``text``; single quotes and backslashes are psql's own."""
    line = " ".join(scrub(text).split()).replace("\\", "\\\\").replace("'", "''")
    return f"\\echo '{line}'"


def _schema(target: Target) -> Iterator[str]:
    section = target.configuration.target
    if section.dsn is not None:
        yield from structure_script(read_structure(resolve_reference(section.dsn, "target.dsn")))
        yield _RESET
        return
    if section.preset is not None:
        preset = load_preset(section.preset)
        if preset.sql:
            yield from ("", f"-- The preset {preset.name}.", preset.sql.strip(), _RESET)
    for source in find_sources(section.sources, target.root):
        yield from ("", f"-- {source.display}")
        yield _inlined(source, ()).strip("\n")
        # The file may have changed them.
        yield from ("\\set ON_ERROR_STOP on", _RESET)
    if not section.sources:
        yield "-- The target names no schema files: load its schema here."


def _inlined(source: SourceFile, includers: tuple[Path, ...]) -> str:
    """The text of ``source`` as psql takes it on any database: what it includes put in its place,
    what is about other databases left out, roles made only where they do not exist yet."""
    text = forward_part(read_source(source))
    statements = split_statements(text)
    parts: list[str] = []
    at = 0
    for number, statement in enumerate(statements):
        following = statements[number + 1] if number + 1 < len(statements) else None
        parts.append(text[at : statement.start])
        parts.append(_rewritten(text, statement, following, source, includers))
        at = statement.end
    parts.append(text[at:])
    return "".join(parts)


def _rewritten(
    text: str,
    statement: Statement,
    following: Statement | None,
    source: SourceFile,
    includers: tuple[Path, ...],
) -> str:
    original = text[statement.start : statement.end]
    if statement.kind is StatementKind.META:
        return _rewritten_meta(statement, source, includers)
    if statement.kind is StatementKind.COPY:
        return original
    reason = why_skipped(statement.text, "")
    if reason is not None:
        return "\n".join(_comment(f"left out, {reason}: {statement.text}"))
    if created_role(statement.text) is not None:
        return _guarded(statement.text)
    if original.endswith(";") or (following is not None and following.kind is StatementKind.META):
        return original
    return f"{original}\n;"


def _rewritten_meta(statement: Statement, source: SourceFile, includers: tuple[Path, ...]) -> str:
    command = parse_meta(statement.text)
    if command.effect is MetaEffect.CONNECT:
        return f"-- left out, all runs in one database: {statement.text}"
    if command.name in ("restrict", "unrestrict"):
        return f"-- left out, older psql does not know it: {statement.text}"
    if command.effect is not MetaEffect.INCLUDE:
        return statement.text
    included = _included(command, source, includers)
    body = _inlined(included, (*includers, source.path))
    return f"-- {included.display}\n{body}\n-- end of {included.display}"


def _included(command: MetaCommand, source: SourceFile, includers: tuple[Path, ...]) -> SourceFile:
    here = source.path.parent
    roots = [here] if command.relative else [here, *(path.parent for path in includers)]
    chain = {path.resolve() for path in (*includers, source.path)}
    for root in roots:
        path = root / command.argument
        if path.is_file() and path.resolve() not in chain:
            return SourceFile(path, command.argument)
    raise ToolError(f"{source.display}: {command.argument} does not exist, or includes itself")


def _guarded(statement: str) -> str:
    """Roles belong to the whole server, so that one may be there already."""
    tag = _tag(statement)
    return (
        f"DO {tag} BEGIN\n{statement};\n"
        f"EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END {tag};"
    )


def _tag(text: str) -> str:
    """A dollar quote that ``text`` does not hold."""
    tag = "$script$"
    while tag in text:
        tag = tag[:-1] + "_$"
    return tag


def _earlier(principal: Principal) -> list[str]:
    """The transaction before, of which the principal finds what remains."""
    if principal.freshness is Freshness.NEVER_SET:
        return ["-- The identity settings were never used on this connection."]
    if principal.freshness is Freshness.ANY:
        return []
    end = "COMMIT" if principal.freshness is Freshness.COMMITTED else "ROLLBACK"
    return [
        "",
        "-- Another identity used the connection before, in a transaction of its own.",
        "BEGIN;",
        *(_set_config(name, value) for name, value in principal.earlier),
        f"{end};",
        "",
    ]


def _world(world: World, schema: str) -> Iterator[str]:
    made = {name.replace('"', "").rpartition(".")[2] for name in _INSERTED.findall(schema)}
    for row in world.rows:
        insert = insert_statement(row.relation, tuple(row.values), [row])
        yield _replacing(row, insert) if row.relation.name in made else insert + ";"
    for fixup in world.fixups:
        yield fixup_statement(fixup) + ";"


def _replacing(row: Row, insert: str) -> str:
    """The insert of a row that a trigger, or the schema itself, may have made already."""
    key = ["id"] if "id" in row.values else [c for c in row.values if c.endswith("_id")]
    rest = [c for c in row.values if c not in key]
    if not key or not rest:
        return insert + ";"
    changes = ", ".join(f"{identifier(c)} = {literal(row.values[c])}" for c in rest)
    where = " AND ".join(f"{identifier(c)} = {literal(row.values[c])}" for c in key)
    table = f"{identifier(row.relation.schema)}.{identifier(row.relation.name)}"
    update = f"UPDATE {table} SET {changes} WHERE {where}"
    tag = _tag(insert + update)
    return (
        f"DO {tag} BEGIN\n  {insert};\n"
        f"EXCEPTION WHEN unique_violation THEN  -- there already, made by a trigger\n"
        f"  {update};\nEND {tag};"
    )


def _identity(principal: Principal, schema: str) -> Iterator[str]:
    who = f"Who acts: {principal.kind}"
    if principal.user is not None:
        who += f", user {principal.user}"
    if principal.tenant is not None:
        who += f", tenant {principal.tenant}"
    yield from _comment(who + (f" ({principal.note})" if principal.note else "") + ".")
    yield _echo(who)
    login = principal.login or principal.role
    if login is not None:
        if re.search(rf"\balter\s+(role|user)\s+\"?{re.escape(login)}\b", schema, re.IGNORECASE):
            yield "-- What a login would have brought along."
            yield _role_settings(login)
        yield f"SET LOCAL SESSION AUTHORIZATION {identifier(login)};"
    if principal.role is not None and principal.role != login:
        yield f"SET LOCAL ROLE {identifier(principal.role)};"
    yield from (_set_config(name, value) for name, value in principal.settings)
    yield from (_terminated(statement) for statement in principal.statements)


def _role_settings(login: str) -> str:
    return (
        "SELECT set_config(split_part(s, '=', 1), substr(s, strpos(s, '=') + 1), true)\n"
        "FROM pg_db_role_setting r, unnest(r.setconfig) s\n"
        f"WHERE r.setrole = (SELECT oid FROM pg_roles WHERE rolname = {literal(login)})\n"
        "  AND r.setdatabase IN (0, (SELECT oid FROM pg_database"
        " WHERE datname = current_database()))\n"
        "  AND (s LIKE '%.%=%' OR split_part(s, '=', 1) IN"
        " (SELECT name FROM pg_settings WHERE context IN ('user', 'superuser')));"
    )


def _set_config(name: str, value: str) -> str:
    return f"SELECT set_config({literal(name)}, {literal(value)}, true);"


def _actor(counterexample: Counterexample) -> Principal:
    """Who acts: for an application query often not its caller but the application's own role."""
    principal, steps = counterexample.witness.principal, counterexample.witness.steps
    role = counterexample.finding.principal.role
    if not steps or steps[-1].operation != "query" or role == (principal.acting_role or ""):
        return principal
    note = f"called for it by the application, as {role or 'a role that no policy binds'}"
    return replace(principal, role=role or None, login=None, statements=(), note=note)


def _steps(counterexample: Counterexample) -> Iterator[str]:
    finding = counterexample.finding
    steps: Sequence[Step] = counterexample.witness.steps
    for number, step in enumerate(steps, 1):
        last = number == len(steps)
        how = f" ({step.shape})" if step.shape else ""
        door = step.relation.name if step.operation == "query" else str(step.relation)
        yield f"-- Step {number} of {len(steps)}: {step.operation} {door}{how}"
        if last:
            yield from _comment(f"expected: {finding.expected}")
            yield from _comment(f"observed: {finding.observed}")
        yield _echo(f"step {number} of {len(steps)}: {step.operation} {door}{how}")
        if last:
            yield _echo(f"  expected: {finding.expected}")
            yield _echo(f"  observed: {finding.observed}")
            if finding.code.startswith("TF3"):
                yield "\\set ON_ERROR_STOP off"
        if step.shape.startswith(CODE):
            yield from _comment(f"No SQL of this script's can do it: call {step.sql}")
            yield _echo(f"  to be called in the application: {step.sql}")
            continue
        yield _terminated(step.sql)
        if step.operation in ("insert", "update", "delete", "call"):
            yield "SET CONSTRAINTS ALL IMMEDIATE;"


def _terminated(statement: str) -> str:
    text = statement.strip().rstrip(";").rstrip()
    # A comment on the last line would swallow the semicolon.
    return f"{text}\n;" if "--" in text.rpartition("\n")[2] else f"{text};"
