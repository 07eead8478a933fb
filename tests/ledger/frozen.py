"""A writer that stops itself in the middle of its transaction: `python -m tests.ledger.frozen URL PATIENCE ID`."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from pixelmeter.ledger import postgres, postgres_session
from pixelmeter.ledger.address import read_address
from tests.factories import make_attempt


def main(url: str, patience: float, identity: str) -> None:
    """Write an attempt, and stop once between its insertion and the rest of the transaction."""
    commit = postgres_session.Session.commit
    stops = [True]

    def stop_and_commit(session: postgres_session.Session, rest: Any) -> None:
        if stops:
            stops.clear()
            os.kill(os.getpid(), signal.SIGSTOP)
        commit(session, rest)

    writer = postgres.PostgresWriter(read_address(url), patience)
    writer.write([make_attempt()], {}, [])
    setattr(postgres_session.Session, "commit", stop_and_commit)  # noqa: B010
    # Enough for a transaction in several messages.
    many = [make_attempt() for _ in range(postgres._FEW)]
    writer.write([make_attempt(id=identity), *many], {"frozen": 1}, [])
    writer.close()


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), sys.argv[3])
