"""What is in a SQLite ledger, asked without pixelmeter."""

from __future__ import annotations

import contextlib
import sqlite3


def ask(url: str, question: str) -> list[tuple[object, ...]]:
    """Return the rows; none where the ledger does not exist yet."""
    with contextlib.closing(sqlite3.connect(url.removeprefix("sqlite:///"), timeout=30)) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'pixelmeter_attempts'").fetchall():
            return []
        return connection.execute(question).fetchall()


def outcomes(url: str) -> dict[str, str]:
    """Return the outcome of each attempt by its id."""
    return {str(key): str(value) for key, value in ask(url, "SELECT id, outcome FROM pixelmeter_attempts")}


def positions(url: str) -> dict[str, int]:
    """Return the committed position of each spool file."""
    return {str(key): int(str(value)) for key, value in ask(url, "SELECT name, position FROM pixelmeter_spools")}


def rolled_up(url: str) -> int:
    """Return how many attempts the day rollup counts."""
    return sum(int(str(value)) for (value,) in ask(url, "SELECT attempts FROM pixelmeter_daily"))
