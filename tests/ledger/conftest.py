"""A pooler in front of the database."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import unavailable
from tests.pgbouncer import PROVIDE, pooled
from tests.postgres import Server, Unavailable


@pytest.fixture(scope="session")
def pooler_port(postgres_server: Server) -> Iterator[int]:
    """The port of a PgBouncer that pools by transaction, with two server connections for each database."""
    try:
        with pooled(postgres_server, size=2) as port:
            yield port
    except Unavailable as reason:
        unavailable(str(reason), PROVIDE)


@pytest.fixture
def pooled_url(postgres_server: Server, postgres_url: str, pooler_port: int) -> str:
    """The URL of the database of `postgres_url`, by way of the pooler."""
    return postgres_url.replace(f":{postgres_server.port}/", f":{pooler_port}/")
