"""Coverage: which cells were tried, which are closed, and which nobody can vouch for."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from tenantfuzz.events import Coverage, UntestedCell
from tenantfuzz.identity import is_closed
from tenantfuzz.policies.configuration import Acceptance
from tenantfuzz.policies.model import DEFAULT_KIND, Model, OwnershipKind
from tenantfuzz.policies.principals import Principal
from tenantfuzz.policies.structure import (
    Catalog,
    Function,
    Operation,
    Relation,
    RelationKind,
    RelationName,
)
from tenantfuzz.results import Failure

Cell = tuple[RelationName, Operation, str]
_TABLES = (RelationKind.TABLE, RelationKind.PARTITIONED)


@dataclass(slots=True)
class Ledger:
    """Keeps the books of cells: relation, operation and kind of principal.

    A cell is *covered* when the trusted role could do the very same on the very same row and the
    principal did it or was denied by row security; *closed* when the catalog forbids it outright;
    else untested. A policy that never let anybody through proves nothing about its denials.
    """

    catalog: Catalog
    model: Model
    unpopulated: Mapping[RelationName, str] = field(default_factory=dict)
    functions: Sequence[Function] = ()
    query_cells: Mapping[tuple[str, str], str | None] = field(default_factory=dict)
    missing: Sequence[tuple[str, str, str]] = ()  # doors that the copy lacks: operation, reason
    tried: set[Cell] = field(default_factory=set)
    let_through: set[tuple[RelationName, Operation]] = field(default_factory=set)
    roles: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    only: frozenset[RelationName] | None = None  # the relations that were asked for
    unchanged: frozenset[RelationName] = frozenset()  # of those, what needs no test again
    refusals: dict[tuple[RelationName, Operation], str] = field(default_factory=dict)
    broken: dict[tuple[RelationName, Operation], tuple[str, str]] = field(default_factory=dict)
    _shut: dict[tuple[RelationName, Operation, tuple[str, ...]], bool] = field(default_factory=dict)

    def meet(self, principals: Iterable[Principal]) -> None:
        """Notes which kinds there are, and in which roles they act."""
        for principal in principals:
            if principal.acting_role is not None:
                self.roles[principal.kind].add(principal.acting_role)

    def cells(self) -> Iterator[Cell]:
        """All cells of tables (views have only one operation, and stand apart), but those of
        relations that are unchanged."""
        return (cell for cell in self._cells() if cell[0] not in self.unchanged)

    def _cells(self) -> Iterator[Cell]:
        if self.model.identity.nobodys:
            return  # only the application reaches relations
        kinds = [*dict.fromkeys([*self._declared_kinds(), *self.roles])]
        for name, relation in self.catalog.relations.items():
            if self.only is not None and name not in self.only:
                continue
            for operation in Operation:
                if relation.kind not in _TABLES and operation is not Operation.SELECT:
                    continue
                for kind in kinds:
                    yield name, operation, kind

    def _declared_kinds(self) -> list[str]:
        """The kinds of the configuration. The default kind counts only where a membership of it
        arose or rules speak of it: others may leave nothing to it."""
        declared = [k.name for k in self.model.kinds]
        spoken_of = any(kind == DEFAULT_KIND for kind, _, _ in self.model.access)
        if len(declared) > 1 and DEFAULT_KIND not in self.roles and not spoken_of:
            declared.remove(DEFAULT_KIND)
        return declared

    def progress(self) -> tuple[int, int]:
        """Cells that are covered or closed by now, and all cells."""
        cells = list(self.cells())
        done = sum(1 for c in cells if c in self.tried or self._closed(c))
        return done, len(cells)

    def failed(
        self, relation: RelationName, operation: Operation, principal: Principal, failure: Failure
    ) -> None:
        """Notes errors that are no denial: recursion, time-outs, and what members run into."""
        door = (relation, operation)
        if failure.sqlstate == "42P17":
            self.broken[door] = ("TF801", f"{operation} always fails: {failure.message}")
        elif failure.sqlstate in ("25P02", "26000"):
            self.broken[door] = ("TF906", f"{operation} was not tried: {failure.message}")
            self.refusals[door] = f"the tool failed to try it: {failure.message}"
        elif failure.sqlstate == "57014":
            self.broken.setdefault(door, ("TF905", f"{operation} took too long: {failure.message}"))
            self.refusals[door] = "the statement took too long and was cancelled"
            if operation is Operation.SELECT:  # nothing else was tried then
                for other in Operation:
                    reason = "reading it took too long and was cancelled"
                    self.refusals.setdefault((relation, other), reason)
        elif (
            operation is Operation.SELECT and failure.sqlstate != "42501" and not principal.hostile
        ):
            self.broken.setdefault(door, ("TF802", f"{operation} fails: {failure.message}"))

    def breakages(self) -> Iterator[tuple[str, str, RelationName]]:
        """Code, message and relation of everything that failed for its users; what failed for some
        and let others through is no breakage but a denial."""
        for (relation, operation), (code, message) in sorted(self.broken.items()):
            if code != "TF802" or (relation, operation) not in self.let_through:
                yield code, message, relation

    def is_open(self, relation: RelationName) -> bool:
        """Whether the catalog lets any kind select from it at all."""
        cells = ((relation, Operation.SELECT, kind) for kind in self.roles)
        return any(not self._closed(cell) for cell in cells)

    def summary(self, accepted: Sequence[Acceptance]) -> Coverage:
        """The coverage as the result states it; accepted cells are listed with their reason."""
        covered: list[tuple[str, str, str]] = []
        closed: list[tuple[str, str, str]] = []
        untested: list[UntestedCell] = []
        for cell in self.cells():
            name, operation, kind = cell
            reason = self._why_untested(cell)
            if self._closed(cell):
                closed.append((str(name), operation.value, kind))
            elif reason is None:
                covered.append((str(name), operation.value, kind))
            else:
                untested.append(UntestedCell(str(name), operation.value, kind, reason))
        untested += self._doors()
        for (query, kind), reason in self.query_cells.items():
            if reason is None:
                covered.append((query, "query", kind))
            else:
                untested.append(UntestedCell(query, "query", kind, reason))
        known = [(cell, _acceptance(cell, accepted)) for cell in untested]
        return Coverage(
            cells=len(covered) + len(closed) + len(untested),
            covered=len(covered),
            closed=len(closed),
            untested=tuple(c for c, reason in known if reason is None),
            accepted=tuple(
                UntestedCell(c.relation, c.operation, c.kind, c.reason, reason)
                for c, reason in known
                if reason is not None
            ),
            closed_cells=tuple(closed),
            covered_cells=tuple(covered),
            unchanged=sum(1 for name, _, _ in self._cells() if name in self.unchanged),
        )

    def _closed(self, cell: Cell) -> bool:
        name, operation, kind = cell
        memo = (name, operation, tuple(sorted(self.roles.get(kind, ()))))
        if memo not in self._shut:
            roles = [self.catalog.roles[r] for r in memo[2] if r in self.catalog.roles]
            relation = self.catalog.relations[name]
            self._shut[memo] = bool(roles) and all(
                is_closed(role, relation, operation.value, self.catalog) for role in roles
            )
        return self._shut[memo]

    def _why_untested(self, cell: Cell) -> str | None:
        name, operation, kind = cell
        relation = self.catalog.relations[name]
        ownership = self.model.owner_of(name)
        if not self.roles.get(kind):
            return f"no principal of kind {kind} arose in any world"
        if relation.kind not in _TABLES:
            return f"a {relation.kind}: not tested as a door in this version"
        if ownership.kind is OwnershipKind.UNCLASSIFIED:
            return f"unclassified: {ownership.reason or 'nothing says whose its rows are'}"
        root = self._root(relation)
        if root.name in self.unpopulated:
            return f"not populated: {self.unpopulated[root.name]}"
        if cell not in self.tried:
            return self.refusals.get(
                (name, operation), "no row was there that this kind of principal must not reach"
            )
        if relation.row_security and (name, operation) not in self.let_through:
            return "its policies never let anybody through: their denials prove nothing"
        return None

    def _root(self, relation: Relation) -> Relation:
        while relation.parent is not None and relation.parent in self.catalog.relations:
            relation = self.catalog.relations[relation.parent]
        return relation

    def _doors(self) -> Iterator[UntestedCell]:
        if self.only is not None:
            return
        for function in self.functions:
            for kind, roles in self.roles.items():
                if roles & function.executable_by:
                    yield UntestedCell(
                        str(function.name),
                        "call",
                        kind,
                        "a function: not tested as a door in this version",
                    )
        for name, operation, reason in self.missing:
            yield UntestedCell(name, operation, "every kind", reason)


def _acceptance(cell: UntestedCell, accepted: Sequence[Acceptance]) -> str | None:
    for accept in accepted:
        if accept.code is not None or accept.fingerprint is not None or accept.id is not None:
            continue  # that accepts a finding
        if matches(accept, cell.relation, cell.operation, cell.kind):
            return accept.reason
    return None


def matches(accept: Acceptance, relation: str, operation: str, kind: str) -> bool:
    """Whether an ``[[accept]]`` speaks of this relation, operation and kind. Names may be globs,
    and a relation may be named without its schema."""
    pattern = accept.relation
    named = pattern is None or (
        fnmatchcase(relation, pattern) or fnmatchcase(relation.partition(".")[2], pattern)
    )
    return (
        named
        and (accept.operation is None or fnmatchcase(operation, accept.operation))
        and (accept.kind is None or fnmatchcase(kind, accept.kind))
    )
