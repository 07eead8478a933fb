"""What can be instrumented, and that it is done in place, once."""

from __future__ import annotations

import asyncio
import functools
import importlib
import sys
import tempfile
import weakref
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import aigateway
import aiohttp
import fal_client
import httpx
import httpx2
import openai
import pytest
import requests
import urllib3
from pydantic_ai.providers.openai import OpenAIProvider

import pixelmeter
from pixelmeter.errors import ConfigError
from tests.clients import KITS, Kit, settled


@pytest.fixture
def meter(tmp_path: Path) -> pixelmeter.Meter:
    """A meter that nobody has used."""
    return pixelmeter.Meter(f"sqlite:///{tmp_path}/ledger.db")


@pytest.fixture
def anyio_backend() -> str:
    """Async tests run on asyncio."""
    return "asyncio"


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


class Slotted:
    """What keeps its client in a slot, and has another that is empty."""

    __slots__ = ("empty", "held")

    def __init__(self, held: Any) -> None:
        self.held = held


class Holder:
    """A class of the user's own."""

    def __init__(self, held: Any) -> None:
        self.held = held
        self.itself = self

    def call(self) -> None:
        """Do nothing."""

    @property
    def made_when_read(self) -> Any:
        raise AssertionError("read")


class Pools(dict[str, Any]):
    """A dict whose methods are not to be asked."""

    def values(self) -> Any:
        raise AssertionError("asked")


class Stack(list[Any]):
    """A list of which the same holds."""

    def __iter__(self) -> Any:
        raise AssertionError("asked")

    def __len__(self) -> int:
        raise AssertionError("asked")


HOLDERS: dict[str, Callable[[Any], Any]] = {
    "attribute": Holder,
    "slot": Slotted,
    "list": lambda client: Holder([client]),
    "dict": lambda client: Holder({"a": (client,)}),
    "dict with an order": lambda client: Holder(OrderedDict(a=client)),
    "dict with a default": lambda client: Holder(defaultdict(list, a=[client])),
    "dict of somebody's own": lambda client: Pools(a=client),
    "list of somebody's own": lambda client: Holder(Stack([client])),
    "queue": lambda client: deque([client]),
    "namespace": lambda client: SimpleNamespace(a=client),
    "partial": lambda client: functools.partial(print, Holder(client)),
    "method": lambda client: Holder(Holder(client).call),
    "six objects deep": lambda client: functools.reduce(lambda held, _: Holder(held), range(6), client),
    "SDK in an SDK": lambda client: Holder(Holder(openai.OpenAI(api_key="k", http_client=client))),
}


@functools.cache
def another() -> pixelmeter.Meter:
    """A meter that is made once, because that reads all prices."""
    return pixelmeter.Meter(f"sqlite:///{tempfile.mkdtemp()}/ledger.db")


def is_metered(client: Any) -> bool:
    try:
        pixelmeter.instrument(client, another())
    except ConfigError as error:
        return "another meter already" in str(error)
    return False


@pytest.mark.parametrize("name", HOLDERS)
def test_a_client_is_found_wherever_an_object_keeps_it(name: str, meter: pixelmeter.Meter) -> None:
    with httpx.Client(verify=False) as client:
        holder = HOLDERS[name](client)
        assert holder is pixelmeter.instrument(holder, meter)
        assert is_metered(client)


class Handing(requests.Session):
    """A session that sends with another one, as that of requests-futures does where it is given one."""

    def __init__(self, held: Any) -> None:
        super().__init__()
        self.held = held


@pytest.mark.parametrize("kind", [requests.Session, httpx.Client])
def test_a_client_that_sends_with_another_one_has_that_metered_too(
    kind: Callable[[], Any], meter: pixelmeter.Meter
) -> None:
    with kind() as client, Handing(client) as session:
        pixelmeter.instrument(session, meter)
        assert [True, True] == [is_metered(session), is_metered(client)]


def test_all_clients_of_all_libraries_are_found(meter: pixelmeter.Meter) -> None:
    async def scene() -> None:
        async with httpx2.AsyncClient(verify=False) as first, aiohttp.ClientSession() as second:
            clients = [first, second, requests.Session(), urllib3.PoolManager(), httpx.Client(verify=False)]
            pixelmeter.instrument(Holder(clients), meter)
            assert [True] * 5 == [is_metered(client) for client in clients]

    asyncio.run(scene())


def test_a_manager_that_keeps_its_pools_as_urllib3_future_does_is_metered_with_them(meter: pixelmeter.Meter) -> None:
    manager: Any = urllib3.PoolManager()
    with urllib3.HTTPConnectionPool("a.test") as pool:
        manager.pools = SimpleNamespace(_registry={0: pool})
        pixelmeter.instrument(manager, meter)
        assert is_metered(pool)


def test_an_object_is_metered_with_all_of_its_clients_or_not_at_all(meter: pixelmeter.Meter) -> None:
    with httpx.Client(verify=False) as first, httpx.Client(verify=False) as second:
        pixelmeter.instrument(second, another())
        before = dict(vars(first))
        with pytest.raises(ConfigError, match="another meter already"):
            pixelmeter.instrument(Holder([first, second]), meter)
        assert before == vars(first)


def test_an_object_without_an_end_is_looked_through_to_a_limit(meter: pixelmeter.Meter) -> None:
    endless: Any = None
    for _ in range(100_000):
        endless = Holder(endless)
    with pytest.raises(ConfigError, match="cannot be instrumented"):
        pixelmeter.instrument(endless, meter)


class Lazy:
    """A proxy that makes what it stands for when it is asked for anything, its class included."""

    def __getattribute__(self, name: str) -> Any:
        raise AssertionError(f"asked for {name}")


@pytest.mark.parametrize("kind", [httpx.Client, aiohttp.ClientSession, requests.Session, urllib3.PoolManager])
def test_a_mock_is_not_asked_what_it_is(kind: type, meter: pixelmeter.Meter) -> None:
    with pytest.raises(ConfigError, match="MagicMock cannot be instrumented"):
        pixelmeter.instrument(mock.MagicMock(spec=kind), meter)


def test_a_proxy_is_not_asked_what_it_is(meter: pixelmeter.Meter) -> None:
    with pytest.raises(ConfigError, match="Lazy cannot be instrumented"):
        pixelmeter.instrument(Lazy(), meter)
    with requests.Session() as session:
        forgotten = weakref.proxy(Holder(None))
        pixelmeter.instrument(Holder([Lazy(), forgotten, session]), meter)
        assert is_metered(session)


def test_a_part_that_does_not_speak_http_is_warned_of(meter: pixelmeter.Meter) -> None:
    channel = type("Channel", (), {"__module__": "grpc._channel"})()
    with httpx.Client(verify=False) as client:
        with pytest.warns(pixelmeter.PixelmeterWarning, match="not what it sends over gRPC: use the REST API"):
            pixelmeter.instrument(Holder([channel, client]), meter)
        assert is_metered(client)


@pytest.mark.anyio
async def test_a_client_that_is_made_when_it_is_first_awaited_is_metered_then(meter: pixelmeter.Meter) -> None:
    sdk = fal_client.AsyncClient(key="k")
    assert sdk is pixelmeter.instrument(sdk, meter) is pixelmeter.instrument(sdk, meter)
    assert is_metered(sdk)
    made = await asyncio.gather(sdk._client, sdk._client)
    assert [await sdk._client] * 2 == list(made)
    assert is_metered(made[0])
    await made[0].aclose()


@pytest.mark.anyio
async def test_one_that_cannot_be_made_yet_is_metered_when_it_can(
    meter: pixelmeter.Meter, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def no_credentials() -> Any:
        raise OSError

    sdk = pixelmeter.instrument(fal_client.AsyncClient(key="k"), meter)
    with monkeypatch.context() as patched:
        patched.setitem(vars(sdk), "_auth", Awaits(no_credentials))
        with pytest.raises(OSError):
            await sdk._client
    async with await sdk._client as made:
        assert is_metered(made)


class Awaits:
    """An awaitable that may be awaited several times."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function

    def __await__(self) -> Any:
        return self._function().__await__()


def test_an_sdk_that_is_forgotten_is_gone_at_once(meter: pixelmeter.Meter) -> None:
    sdk = pixelmeter.instrument(fal_client.AsyncClient(key="k"), meter)
    seen = weakref.ref(sdk)
    del sdk
    assert seen() is None


@pytest.mark.anyio
async def test_what_makes_a_client_anew_has_that_metered(meter: pixelmeter.Meter) -> None:
    provider: Any = pixelmeter.instrument(OpenAIProvider(api_key="k"), meter)
    async with provider:
        first = provider._own_http_client
    async with provider:
        second = provider._own_http_client
        assert first is not second
        assert is_metered(second)
    assert {} == meter.status()["failures"]


@pytest.mark.parametrize("stranger", [object(), None, "https://api.openai.com", openai])
def test_what_is_no_client_is_refused_with_what_to_give_instead(stranger: object, meter: pixelmeter.Meter) -> None:
    with pytest.raises(ConfigError, match="cannot be instrumented, because no client of httpx"):
        pixelmeter.instrument(stranger, meter)


def test_a_class_instead_of_a_client_is_refused(meter: pixelmeter.Meter) -> None:
    with pytest.raises(ConfigError, match="cannot be instrumented"):
        pixelmeter.instrument(openai.OpenAI, meter)


@pytest.mark.parametrize(
    ("module", "advice"),
    [
        ("xai_sdk.sync.client", "https://api.x.ai/v1"),
        ("runware.server", "WebSocket"),
        ("vertexai.x", "google-genai"),
        ("stability_sdk.client", "https://api.stability.ai/v2beta"),
        ("llm.default_plugins.openai_models", "pixelmeter run"),
        ("azure.ai.inference.aio._patch", "pixelmeter run"),
        ("langgraph.graph.state", "before the graph is made"),
        ("curl_cffi.requests.session", "pixelmeter proxy"),
        ("niquests.async_session", "not its AsyncSession"),
        ("aiobotocore.session", "what `async with` gives"),
        ("anything.else", "pixelmeter run"),
    ],
)
def test_what_cannot_be_metered_is_refused_with_another_way(module: str, advice: str, meter: pixelmeter.Meter) -> None:
    with pytest.raises(ConfigError, match=advice):
        pixelmeter.instrument(type("Client", (), {"__module__": module})(), meter)


@pytest.mark.parametrize(
    ("module", "advice"), [(fal_client, "sync_client"), (httpx, "give a client of it"), (requests, "give a Session")]
)
def test_a_module_is_refused_with_what_to_give_instead(module: Any, advice: str, meter: pixelmeter.Meter) -> None:
    with pytest.raises(ConfigError, match=advice):
        pixelmeter.instrument(module, meter)
