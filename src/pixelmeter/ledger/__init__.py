"""The database: attempts, their day rollup, their totals and the spool positions, on SQLite or PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["include_name"]


def include_name(name: str | None, type_: str, _parent_names: Mapping[str, str | None]) -> bool:
    """Return False for every table of pixelmeter, True for all other names in a database.

    For the `include_name` of Alembic: the `revision --autogenerate` of an application that shares its database with a
    ledger then leaves the ledger alone.

        context.configure(..., include_name=pixelmeter.ledger.include_name)
    """
    # By the beginning: a ledger of a newer pixelmeter may have more tables than this one knows.
    return type_ != "table" or name is None or not name.startswith("pixelmeter_")
