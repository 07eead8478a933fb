"""Whatever stands in the place of what a class sends by is called as Python would call it."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import pytest
from urllib3.connectionpool import HTTPConnectionPool

import pixelmeter
from pixelmeter import Meter
from pixelmeter.core.attempts.record import Attempt
from tests.clients import Kit, settled
from tests.drivers.wires import BODY, URL, Wire, handle_of, wrapping
from tests.kits import ALL, having

_SENDS = {"httpx": "_send_single_request", "httpx2": "_send_single_request", "aiohttp": "_request"}


class Reached(Exception):
    """What stands there raises it."""


class Standing:
    """Stands for a function, and has all that it has: Python does not look there for how to bind it."""

    def __init__(self, function: Any, call: Callable[..., Any]) -> None:
        self._function = function
        self._call = call

    def __call__(self, *args: Any, **options: Any) -> Any:
        return self._call(*args, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._function, name)


def static(_: Any, call: Callable[..., Any]) -> Any:
    return staticmethod(call)


def sent_by(kit: Kit, raw: Any) -> tuple[Any, str]:
    """Return the class that has what a client sends by, and its name there."""
    name = _SENDS.get(kit.package.__name__)
    if name is None:
        return HTTPConnectionPool, "urlopen"
    return next(each for each in type(raw).__mro__ if name in vars(each)), name


@pytest.mark.parametrize("stands", [Standing, static])
@pytest.mark.parametrize("metered", ["in place", "by its class"])
@pytest.mark.parametrize("kit", ALL, ids=str)
def test_what_stands_in_the_classs_place_gets_what_it_gets_without_us(
    kit: Kit, metered: str, stands: Any, meter: Meter, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[type]] = []

    def reached(*args: Any, **_: Any) -> Any:
        seen.append([type(each) for each in args])
        raise Reached

    async def scene(*, is_metered: bool) -> None:
        client = kit.client()
        kind, name = sent_by(kit, client.raw)
        placed = stands(vars(kind)[name], reached)
        with monkeypatch.context() as patched:
            patched.setattr(kind, name, placed)
            undo: Callable[[], object] = lambda: None  # noqa: E731
            if is_metered and metered == "in place":
                kit.meter(client.raw, meter)
            elif is_metered:
                library = "urllib3" if kind is HTTPConnectionPool else kit.package.__name__
                undo = importlib.import_module(f"pixelmeter.drivers.{library}").patch(lambda: meter)
            with pytest.raises(Reached):
                await client.post(URL, json=BODY)
            undo()
            assert placed is vars(kind)[name]
        await client.close()

    kit.run(scene(is_metered=False))
    kit.run(scene(is_metered=True))
    assert 2 == len(seen)
    assert seen[0] == seen[1]


@pytest.mark.parametrize("kit", having("transports"), ids=str)
def test_a_static_method_of_a_transport_below_another_one_is_called_as_ever(
    kit: Kit, meter: Meter, attempts: list[Attempt]
) -> None:
    wire = Wire(kit)
    plain = wire.transport
    handle = handle_of(kit, plain)

    def handled(request: Any) -> Any:
        return handle(request)

    kind = type("Static", (type(plain),), {handle.__name__: staticmethod(handled)})

    async def scene() -> Any:
        client = kit.client(transport=wrapping(kit, kind(), lambda request, handle: handle(request)))
        pixelmeter.instrument(client.raw, meter)
        response = await settled(client.raw.post(URL, json=BODY))
        await client.close()
        return response.status_code

    assert 200 == kit.run(scene())
    assert ["success"] == [attempt.outcome for attempt in attempts]
