"""A stand-in gateway that is asked for its usage."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import httpx
import pytest

from pixelmeter.core.reconciling.statement import Period, Statement, month
from pixelmeter.reconcile.sources import Page, Source, UsageClient
from pixelmeter.testing import Gateway

KEY = "sk-aig-secret-0123"
CLOUDFLARE = "/client/v4/accounts/a1/ai-gateway/gateways/g1"

Ask = Callable[..., list[Page]]


@pytest.fixture
def http() -> Iterator[httpx.Client]:
    """A client of the HTTP library."""
    # Reading the certificates takes longer than the whole test.
    with httpx.Client(verify=False) as client:
        yield client


@pytest.fixture
def waits() -> list[float]:
    """How long `usage` has waited between its tries, in seconds."""
    return []


@pytest.fixture
def usage(gateway: Gateway, http: httpx.Client, waits: list[float]) -> UsageClient:
    """A client of the gateway's reports that does not really wait."""
    return UsageClient(http, gateway.root, KEY, pause=waits.append)


@pytest.fixture
def ask(gateway: Gateway, http: httpx.Client, waits: list[float]) -> Ask:
    """Return the pages of a report of the stand-in gateway, of this month unless another period is named."""

    def asked(source: Source, period: Period | None = None, wanted: list[str] | None = None, **more: str) -> list[Page]:
        root = gateway.root + (CLOUDFLARE if source.gateway == "cloudflare-ai-gateway" else "")
        client = UsageClient(http, root, KEY, pause=waits.append)
        if source.by_id and wanted is None:
            wanted = [f"gen-{line['request_id']}" for line in gateway.billing()]
        return list(source.pages(client, period or this_month(), wanted or (), **more))

    return asked


@pytest.fixture
def bill(gateway: Gateway, http: httpx.Client) -> Callable[..., None]:
    """Have the gateway bill so many images: `bill(3, model=…)`."""

    def send(times: int = 1, model: str = "meta/sam-3-1-image", tag: str = "", key: str = "k") -> None:
        for _ in range(times):
            headers = {"authorization": f"Bearer {key}", **({"x-aig-tag": tag} if tag else {})}
            body = {"prompt": "a fox", "model": model}
            assert 200 == http.post(f"{gateway.url}/images/generations", json=body, headers=headers).status_code

    return send


def this_month() -> Period:
    """Return the UTC month that it is."""
    return month(time.strftime("%Y-%m", time.gmtime()))


def all_of(pages: list[Page]) -> list[Statement]:
    """Return the statements of all pages."""
    return [statement for page in pages for statement in page.statements]
