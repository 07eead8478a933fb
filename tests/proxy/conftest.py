"""A proxy that many tests share, in front of an upstream of plain sockets and of the stand-in gateway."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from pixelmeter.testing import Gateway
from tests.proxy.sidecar import Sidecar, proxying
from tests.proxy.upstream import Upstream, upstream


@dataclass(frozen=True, slots=True)
class Pair:
    """The proxy, and what is behind it: all paths go to `upstream`, those below /gw to the stand-in gateway."""

    sidecar: Sidecar
    upstream: Upstream
    url: str
    """Of the ledger."""
    gateway: Gateway

    @property
    def root(self) -> str:
        return self.sidecar.root


@pytest.fixture(scope="session")
def shared_pair(tmp_path_factory: pytest.TempPathFactory, shared_gateway: Gateway) -> Iterator[Pair]:
    """The processes behind `pair`."""
    url = f"sqlite:///{tmp_path_factory.mktemp('proxy')}/ledger.db"
    with (
        upstream() as behind,
        proxying(
            behind.root, f"/gw={shared_gateway.root}", url=url, settings={"PIXELMETER_WRITE_INTERVAL": "0.1"}
        ) as sidecar,
    ):
        yield Pair(sidecar, behind, url, shared_gateway)


@pytest.fixture
def pair(shared_pair: Pair, gateway: Gateway) -> Pair:
    """A proxy that is shared by tests, its upstream as new."""
    shared_pair.upstream.reset()
    return dataclasses.replace(shared_pair, gateway=gateway)
