"""A connection that may be lent to code under test without letting go of its transaction."""

from typing import Any

import psycopg
from psycopg.pq import ExecStatus, TransactionStatus


class LentConnection(psycopg.Connection[Any]):
    """A psycopg connection. While ``lent`` its commit and rollback reach no further than the
    savepoint ``lent``, which whoever lends it has set: the world around stays as it is."""

    lent: bool = False
    engine: object = None  # of whoever borrows it again and again

    def commit(self) -> None:
        """Keeps what was done, as far as the world lasts."""
        if not self.lent:
            super().commit()
        else:
            self._send(b"RELEASE SAVEPOINT lent")
            self._send(b"SAVEPOINT lent")

    def rollback(self) -> None:
        """Undoes what was done since the last commit."""
        if not self.lent:
            super().rollback()
        elif self.pgconn.transaction_status != TransactionStatus.IDLE:
            self._send(b"ROLLBACK TO SAVEPOINT lent")

    def _send(self, command: bytes) -> None:
        """Through libpq: psycopg would deallocate all prepared statements, and the tool's too."""
        result = self.pgconn.exec_(command)
        if result.status != ExecStatus.COMMAND_OK:
            raise psycopg.errors.error_from_result(result)

    def close(self) -> None:
        """Closes it, unless it is lent."""
        if not self.lent:
            super().close()
