"""Runs the migrations on the connection, and in the transaction, that `pixelmeter.ledger.migrate` passes in."""

from __future__ import annotations

from alembic import context

from pixelmeter.ledger.schema import METADATA
from pixelmeter.ledger.version import VERSION_TABLE, schema_of

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    version_table=VERSION_TABLE,
    version_table_schema=schema_of(context.config.attributes["connection"]),
    render_as_batch=True,
    transactional_ddl=True,
    include_name=lambda name, kind, _: kind != "table" or name in METADATA.tables,
)
context.run_migrations()
