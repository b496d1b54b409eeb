"""A connection that may be lent to code under test without letting go of its transaction."""

from typing import Any

import psycopg
from psycopg.pq import TransactionStatus


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
            self.execute("RELEASE SAVEPOINT lent")
            self.execute("SAVEPOINT lent")

    def rollback(self) -> None:
        """Undoes what was done since the last commit."""
        if not self.lent:
            super().rollback()
        elif self.pgconn.transaction_status != TransactionStatus.IDLE:
            self.execute("ROLLBACK TO SAVEPOINT lent")

    def close(self) -> None:
        """Closes it, unless it is lent."""
        if not self.lent:
            super().close()
