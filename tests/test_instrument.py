"""What can be instrumented, and that it is done in place, once."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aigateway
import openai
import pytest

import pixelmeter
from pixelmeter.errors import ConfigError
from tests.clients import KITS, Kit, settled


@pytest.fixture
def meter(tmp_path: Path) -> pixelmeter.Meter:
    """A meter that nobody has used."""
    return pixelmeter.Meter(f"sqlite:///{tmp_path}/ledger.db")


def client_of(kit: Kit, **options: Any) -> Any:
    return kit.client(**options).raw


def close(client: Any) -> None:
    """Close a client of any kind."""
    if hasattr(client, "aclose"):
        Kit(None, "asyncio").run(settled(client.aclose()))
    else:
        Kit(None, "asyncio").run(settled(client.close()))


@pytest.mark.parametrize("kit", KITS, ids=str)
def test_a_client_is_instrumented_in_place_once(kit: Kit, meter: pixelmeter.Meter) -> None:
    client = client_of(kit)
    assert client is pixelmeter.instrument(client, meter)
    once = dict(vars(client))
    assert client is pixelmeter.instrument(client, meter)
    assert once == vars(client)
    close(client)


@pytest.mark.parametrize("kit", KITS, ids=str)
def test_a_client_of_one_library_needs_no_other(
    kit: Kit, meter: pixelmeter.Meter, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = "httpx2" if kit.package.__name__ == "httpx" else "httpx"
    monkeypatch.setitem(sys.modules, other, None)
    monkeypatch.delitem(sys.modules, f"pixelmeter.drivers.{other}", raising=False)
    client = client_of(kit)
    assert client is pixelmeter.instrument(client, meter)
    close(client)


@pytest.mark.parametrize("kit", KITS, ids=str)
def test_a_client_with_a_mount_of_another_meter_is_refused_and_left_as_it_was(
    kit: Kit, meter: pixelmeter.Meter
) -> None:
    binding = importlib.import_module(f"pixelmeter.{kit.package.__name__}")
    kind = binding.AsyncMeterTransport if kit.is_async else binding.MeterTransport
    client = client_of(kit, mounts={"http://a.test": kind(pixelmeter.Meter(meter.database_url))})
    before = dict(vars(client))
    with pytest.raises(ConfigError, match="another meter already"):
        pixelmeter.instrument(client, meter)
    assert before == vars(client)
    close(client)


SDKS: dict[str, Callable[[], Any]] = {
    "OpenAI": lambda: openai.OpenAI(api_key="k"),
    "AsyncOpenAI": lambda: openai.AsyncOpenAI(api_key="k"),
    "AzureOpenAI": lambda: openai.AzureOpenAI(api_key="k", api_version="1", azure_endpoint="https://a.test"),
    "AsyncAzureOpenAI": lambda: openai.AsyncAzureOpenAI(api_key="k", api_version="1", azure_endpoint="https://a.test"),
    "AIgateway": lambda: aigateway.AIgateway(api_key="k"),
    "AsyncAIgateway": lambda: aigateway.AsyncAIgateway(api_key="k"),
}


@pytest.mark.parametrize("name", SDKS)
def test_an_sdk_is_instrumented_with_all_the_clients_it_has(name: str, meter: pixelmeter.Meter) -> None:
    sdk = SDKS[name]()
    assert sdk is pixelmeter.instrument(sdk, meter)
    clients = [getattr(sdk, attribute) for attribute in ("_client", "_media_client") if hasattr(sdk, attribute)]
    assert (2 if "AIgateway" in name else 1) == len(clients)
    for client in clients:
        with pytest.raises(ConfigError, match="another meter already"):
            pixelmeter.instrument(client, pixelmeter.Meter(meter.database_url))
    close(sdk)


def test_a_copy_of_an_sdk_with_other_options_is_metered_too(meter: pixelmeter.Meter) -> None:
    sdk = pixelmeter.instrument(openai.OpenAI(api_key="k"), meter)
    assert sdk.with_options(max_retries=7)._client._transport is sdk._client._transport
    sdk.close()


@pytest.mark.parametrize("stranger", [object(), None, "https://api.openai.com", openai])
def test_what_is_no_client_is_refused_with_what_to_give_instead(stranger: object, meter: pixelmeter.Meter) -> None:
    with pytest.raises(ConfigError, match="cannot be instrumented, because no client of httpx"):
        pixelmeter.instrument(stranger, meter)


def test_a_class_instead_of_a_client_is_refused(meter: pixelmeter.Meter) -> None:
    with pytest.raises(ConfigError, match="cannot be instrumented"):
        pixelmeter.instrument(openai.OpenAI, meter)
