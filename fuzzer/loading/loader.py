"""Runs schema sources on a scratch database, one statement at a time."""

import contextlib
import hashlib
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.pq import TransactionStatus

from tenantfuzz.loading.cluster import (
    created_role,
    creates_public,
    extension_spoken_of,
    why_skipped,
)
from tenantfuzz.loading.errors import Failure, LoadError, load_error
from tenantfuzz.loading.extensions import (
    install_stand_in,
    is_available,
    missing_warning,
    parse_extension,
    stand_in,
)
from tenantfuzz.loading.meta import MetaCommand, MetaEffect, parse_meta
from tenantfuzz.loading.psql import run_psql
from tenantfuzz.loading.sections import forward_part
from tenantfuzz.loading.sources import SourceFile, read_source
from tenantfuzz.loading.statements import Statement, StatementKind, split_statements

_COPY_LINE = re.compile(r"^COPY .*?, line (\d+)", re.MULTILINE)
_ROLE_EXISTS = (psycopg.errors.DuplicateObject, psycopg.errors.UniqueViolation)


def schema_hash(sources: Sequence[SourceFile]) -> str:
    """The first 16 hex digits of a SHA-256 over the contents of ``sources``, in order."""
    digest = hashlib.sha256()
    for source in sources:
        content = read_source(source).encode()
        digest.update(len(content).to_bytes(8, "big"))
        digest.update(content)
    return digest.hexdigest()[:16]


def load_sources(
    conn: psycopg.Connection, sources: Sequence[SourceFile], *, psql: str | None = None
) -> list[str]:
    """Run ``sources`` in order on the scratch database of ``conn``; return warnings.

    Each statement runs on its own in autocommit mode, so that BEGIN and COMMIT in the files mean
    what they say. Each file starts with the session as new: role, settings, and search path as
    the database has them; settings that must last belong into the options of the connection.
    Statements about other databases or the whole server are skipped with a warning; so are
    extensions that the server lacks (some have a stand-in) and roles that exist already. A file
    with psql meta-commands other than includes is run by psql, where ``psql`` (the conninfo of the
    same database) is given and the program is on the PATH. Raises LoadError with file, line and
    statement for the first error.
    """
    loader = _Loader(conn, psql)
    with _autocommit(conn):
        for source in sources:
            loader.load(source)
            loader.reset_session()
    return loader.warnings


@contextlib.contextmanager
def _autocommit(conn: psycopg.Connection) -> Iterator[None]:
    before = conn.autocommit
    if not before:
        conn.commit()
        conn.autocommit = True
    try:
        yield
    finally:
        if not conn.closed:
            conn.rollback()
            conn.autocommit = before


class _Loader:
    """The state of one load: what was missing, what to warn of."""

    def __init__(self, conn: psycopg.Connection, psql: str | None) -> None:
        self.conn = conn
        self.psql = psql if shutil.which("psql") else None
        self.database = conn.info.dbname
        self.missing: set[str] = set()
        self.warnings: list[str] = []
        self.begun_at = 0

    def load(self, source: SourceFile) -> None:
        self.reset_session()
        self._run_file(source, ())
        if self.conn.info.transaction_status is not TransactionStatus.IDLE:
            raise LoadError(
                f"{source.display}:{self.begun_at}: the transaction begun here is never committed",
                hint="Add COMMIT at the end of the file: psql would roll all of it back.",
                file=source.display,
                line=self.begun_at,
            )

    def reset_session(self) -> None:
        """Undo what a file did to the session, as a new connection for the next would."""
        self.conn.execute("RESET SESSION AUTHORIZATION")
        self.conn.execute("RESET ALL")
        settings = self.conn.execute(
            "SELECT pg_catalog.unnest(s.setconfig) FROM pg_catalog.pg_db_role_setting s"
            " JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase"
            " WHERE d.datname = pg_catalog.current_database() AND s.setrole = 0"
        ).fetchall()
        for (setting,) in settings:
            name, _, value = str(setting).partition("=")
            # Settings that only count at login cannot be set here, and need not be.
            with contextlib.suppress(psycopg.Error):
                self.conn.execute("SELECT pg_catalog.set_config(%s, %s, false)", [name, value])

    def _run_file(self, source: SourceFile, includers: tuple[Path, ...]) -> None:
        text = forward_part(read_source(source))
        statements = split_statements(text)
        metas = [(s, parse_meta(s.text)) for s in statements if s.kind is StatementKind.META]
        needs = [(s, m) for s, m in metas if m.effect is MetaEffect.NEEDS_PSQL]
        if needs:
            self._run_with_psql(source, text, statements, needs[0])
            return
        for statement in statements:
            if statement.kind is StatementKind.META:
                self._run_meta(source, statement, includers)
            else:
                self._run(source, statement)

    def _run_meta(
        self, source: SourceFile, statement: Statement, includers: tuple[Path, ...]
    ) -> None:
        command = parse_meta(statement.text)
        if command.effect is MetaEffect.CONNECT:
            self._warn(source, statement, f"{statement.text}: skipped, all runs in one database")
        elif command.effect is MetaEffect.INCLUDE:
            self._include(source, statement, command, includers)

    def _include(
        self,
        source: SourceFile,
        statement: Statement,
        command: MetaCommand,
        includers: tuple[Path, ...],
    ) -> None:
        here = source.path.parent
        # \i is relative to where psql was started, which only its author knows: try both.
        roots = [here] if command.relative else [here, *(path.parent for path in includers)]
        path = next(
            (root / command.argument for root in roots if (root / command.argument).is_file()),
            None,
        )
        chain = (*includers, source.path)
        if path is None or path.resolve() in {p.resolve() for p in chain}:
            problem = "does not exist" if path is None else "includes itself"
            raise LoadError(
                f"{source.display}:{statement.line}: {command.argument} {problem}",
                hint=f"It was looked for in {', '.join(map(str, roots))}.",
                file=source.display,
                line=statement.line,
            )
        shown = str(Path(source.display).parent / command.argument)
        self._run_file(SourceFile(path, shown if path.is_relative_to(here) else str(path)), chain)

    def _run(self, source: SourceFile, statement: Statement) -> None:
        if self._set_aside(source, statement):
            return
        idle = self.conn.info.transaction_status is TransactionStatus.IDLE
        try:
            role = created_role(statement.text)
            if statement.kind is StatementKind.COPY:
                self._copy(statement)
            elif role is not None:
                self._create_role(source, statement, role)
            else:
                self.conn.execute(statement.text.encode())
        except psycopg.Error as error:
            if not (idle and _is_unknown_setting(statement, error)):
                raise self._error(source, statement, error) from error
            self._warn(source, statement, f"skipped, {error.diag.message_primary}")
        if idle:
            self.begun_at = statement.line

    def _set_aside(self, source: SourceFile, statement: Statement) -> bool:
        """Whether ``statement`` is done with: not for this database, or an extension it lacks."""
        reason = why_skipped(statement.text, self.database)
        if reason is not None:
            self._warn(source, statement, f"skipped, {reason}: {_head(statement.text)}")
            return True
        if extension_spoken_of(statement.text) in self.missing:
            return True
        if creates_public(statement.text) and self._exists("pg_namespace", "nspname", "public"):
            return True
        request = parse_extension(statement.text)
        if request is None or is_available(self.conn, request.name):
            return False
        body = stand_in(request)
        if body is not None:
            try:
                install_stand_in(self.conn, request, body)
            except psycopg.Error as error:
                raise self._error(source, statement, error) from error
        if request.name not in self.missing:
            version = self.conn.info.parameter_status("server_version") or "?"
            place = f"{source.display}:{statement.line}"
            has_stand_in = body is not None
            self.warnings.append(
                missing_warning(place, request.name, version, has_stand_in=has_stand_in)
            )
        self.missing.add(request.name)
        return True

    def _create_role(self, source: SourceFile, statement: Statement, role: str) -> None:
        """Roles belong to the whole server, so an earlier load may have left this one."""
        try:
            with self.conn.transaction():
                self.conn.execute(statement.text.encode())
        except _ROLE_EXISTS:
            row = self.conn.execute(
                "SELECT rolsuper, rolbypassrls FROM pg_catalog.pg_roles WHERE rolname = %s", [role]
            ).fetchone()
            if row is None:
                raise
            powers = [word for word, on in zip(("SUPERUSER", "BYPASSRLS"), row, strict=True) if on]
            suffix = f" ({', '.join(powers)})" if powers else ""
            self._warn(
                source, statement, f"role {role} exists already and is kept as it is{suffix}"
            )

    def _copy(self, statement: Statement) -> None:
        with self.conn.cursor() as cursor, cursor.copy(statement.text.encode()) as copy:
            copy.write(statement.data or "")

    def _error(self, source: SourceFile, statement: Statement, error: psycopg.Error) -> LoadError:
        diag = error.diag
        line = statement.line
        if diag.statement_position is not None:
            line += statement.text.count("\n", 0, int(diag.statement_position) - 1)
        text = statement.text
        copied = _COPY_LINE.search(diag.context or "")
        if statement.kind is StatementKind.COPY and copied is not None:
            line += text.count("\n") + int(copied.group(1))
            text = f"{text};\n{statement.data or ''}"
        failure = Failure(
            message=diag.message_primary or str(error).strip(),
            line=line,
            sqlstate=diag.sqlstate,
            detail=diag.message_detail,
            hint=diag.message_hint,
        )
        return load_error(source.display, text, statement.line, failure, self.missing)

    def _run_with_psql(
        self,
        source: SourceFile,
        text: str,
        statements: Sequence[Statement],
        needs: tuple[Statement, MetaCommand],
    ) -> None:
        statement, command = needs
        if self.psql is None:
            raise LoadError(
                f"{source.display}:{statement.line}: \\{command.name} needs psql",
                hint="Install the PostgreSQL client (psql) on the PATH, or write the file as "
                "plain SQL.",
                file=source.display,
                line=statement.line,
            )
        for part in statements:
            if part.kind is StatementKind.META:
                skipped = parse_meta(part.text).effect is MetaEffect.CONNECT
            else:
                skipped = self._set_aside(source, part) or self._role_exists(source, part)
            if skipped:
                blank = re.sub(r"[^\r\n]", " ", text[part.start : part.end])
                text = text[: part.start] + blank + text[part.end :]
        failed = run_psql(self.psql, source.path, text)
        if failed is None:
            return
        shown = source.display if failed.file is None else failed.file
        raise load_error(shown, failed.text, failed.first_line, failed.failure, self.missing)

    def _role_exists(self, source: SourceFile, statement: Statement) -> bool:
        role = created_role(statement.text)
        if role is None:
            return False
        if not self._exists("pg_roles", "rolname", role):
            return False
        self._warn(source, statement, f"role {role} exists already and is kept as it is")
        return True

    def _exists(self, catalog: str, column: str, name: str) -> bool:
        query = sql.SQL("SELECT FROM pg_catalog.{} WHERE {} = %s").format(
            sql.Identifier(catalog), sql.Identifier(column)
        )
        return self.conn.execute(query, [name]).fetchone() is not None

    def _warn(self, source: SourceFile, statement: Statement, message: str) -> None:
        self.warnings.append(f"{source.display}:{statement.line}: {message}")


def _is_unknown_setting(statement: Statement, error: psycopg.Error) -> bool:
    """A dump made by a newer release sets what an older server does not know."""
    return isinstance(error, psycopg.errors.UndefinedObject) and (
        re.match(r"SET\s", statement.text, re.IGNORECASE) is not None
        and "configuration parameter" in (error.diag.message_primary or "")
    )


def _head(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 60 else f"{line[:57]}…"
