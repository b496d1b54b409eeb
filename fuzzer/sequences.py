"""Sequences: they go on behind the keys that worlds use, so that what counts for itself (an
application's insert, an audit trigger) meets no row of a world."""

from typing import Final

ROOM: Final = 1000
"""Where sequences go on: worlds use smaller numbers."""

_MOVING: Final = f"""
setval(seqrelid, LEAST({ROOM}, seqmax / 2)) FROM pg_sequence
WHERE seqincrement > 0 AND seqmin <= LEAST({ROOM}, seqmax / 2)
AND CASE WHEN has_sequence_privilege(seqrelid, 'UPDATE')
AND has_sequence_privilege(seqrelid, 'USAGE, SELECT')
THEN coalesce(pg_sequence_last_value(seqrelid), seqstart - 1) < LEAST({ROOM}, seqmax / 2) END
""".strip()
MOVED_ON: Final = f"SELECT {_MOVING}"
"""Moves on the sequences of a database that have not come as far, as far as they may go."""

SCRIPTED: Final = f"DO $$ BEGIN PERFORM {_MOVING}; END $$;"
"""The same in a script, where it shows nothing."""
