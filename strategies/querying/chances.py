"""Queries whose answer is no question of equality: physical order or chance has a say in it, or
further policies do. What they show is judged all the same."""

from tenantfuzz.strategies.querying.conditions import conditions
from tenantfuzz.strategies.querying.joining import joins
from tenantfuzz.strategies.querying.tree import Select, Source
from tenantfuzz.strategies.querying.writer import Writer

_LOCKS = ("FOR UPDATE", "FOR NO KEY UPDATE", "FOR SHARE", "FOR KEY SHARE")


def chancy(writer: Writer, root: Source) -> str:
    """One of them, with the columns of the key where there is one: rows are known by it."""
    writer.chance = True
    entry = writer.entry(root)
    shown = tuple(dict.fromkeys((*map(root.named, entry.key), *writer.some(root))))
    where = tuple(conditions(writer, root))
    if entry.lockable and writer.likely(0.4):
        return _locking(writer, root, shown, where)
    draw = writer.source.random()
    if draw < 0.25:
        writer.mark("chance:limit")
        return Select(root, shown, where=where, tail="LIMIT 3").render()
    if draw < 0.5 and not entry.parted:
        writer.mark("chance:sample")
        how = writer.source.choice(
            ("BERNOULLI (50)", "SYSTEM (50)", "BERNOULLI (60) REPEATABLE (7)")
        )
        return Select(root, shown, where=where, sample=how).render()
    if draw < 0.7:
        writer.mark("chance:random")
        return Select(root, shown, where=where, tail="ORDER BY random() LIMIT 4").render()
    if draw < 0.85:
        writer.mark("chance:array")
        named = root.named(writer.source.choice(root.columns))
        return Select(root, (f"array_agg({named}::text)",), where=where).render()
    writer.mark("chance:distinct on")
    named = root.named(writer.source.choice(root.columns))
    return Select(root, shown, where=where, distinct=f"DISTINCT ON ({named})").render()


def _locking(writer: Writer, root: Source, shown: tuple[str, ...], where: tuple[str, ...]) -> str:
    lock = writer.source.choice(_LOCKS)
    writer.mark(f"lock:{lock}")
    clauses: list[str] = []
    if writer.likely(0.3):
        clauses, _ = joins(writer, root, 1)
        outer = any(c.startswith(("RIGHT", "FULL")) for c in clauses)
        clauses = [] if outer else clauses  # its rows may have no row to lock
    wait = writer.source.choice(("", " SKIP LOCKED", " NOWAIT"))
    tail = f"{lock} OF {root.alias}{wait}"
    return Select(root, shown, tuple(clauses), where, tail=tail).render()
