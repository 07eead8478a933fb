"""What all tables are made of: their metadata, and types of columns that each database has in its own way."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Integer, MetaData, String, Text, text
from sqlalchemy.dialects import postgresql

__all__ = ["BIG", "JSON", "METADATA", "UUID", "where"]

METADATA = MetaData()

UUID = String(36).with_variant(postgresql.UUID(as_uuid=False), "postgresql")
JSON = Text().with_variant(postgresql.JSONB(), "postgresql")
# SQLite has one integer of up to 64 bits; the wider type there would only change how a primary key behaves.
BIG = BigInteger().with_variant(Integer(), "sqlite")


def where(condition: str) -> dict[str, Any]:
    return {"sqlite_where": text(condition), "postgresql_where": text(condition)}
