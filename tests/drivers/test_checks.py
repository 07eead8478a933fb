"""A check of `Intake.begin` that is no budget: what it raises is all that it needs to refuse a call."""

from __future__ import annotations

import pickle
from collections.abc import Generator
from typing import Any

import pytest

import pixelmeter
from pixelmeter import Meter
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.drivers.refusal import raised_to
from pixelmeter.errors import CallRefused
from pixelmeter.meter import intake_of
from tests.clients import Kit
from tests.drivers.limits import REFUSALS
from tests.drivers.wires import URL, Wire, numbers, posted


class Closed(CallRefused):
    """No images are made on Sundays."""

    error_type = "closed"


@REFUSALS
def test_a_call_is_refused_as_a_budget_refuses_one(
    kit: Kit, sqlite_url: str, refuse: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def begin(*_: object) -> Generator[Any, None, None]:
        yield from ()
        error = Closed()
        error.refuse = refuse
        raise error

    wire = Wire(kit)

    async def scene(meter: Meter) -> Any:
        client = kit.client(transport=wire.transport)
        pixelmeter.instrument(client.raw, meter)
        try:
            return await posted(client)
        except kit.package.HTTPError as error:
            return error
        finally:
            await client.close()

    with Meter(sqlite_url) as meter:
        monkeypatch.setattr(intake_of(meter), "begin", begin)
        told = kit.run(scene(meter))

    assert ([], {}) == (wire.sent, meter.status()["failures"])
    if refuse == "raise":
        assert isinstance(told, Closed)
        assert ("No images are made on Sundays.", URL) == (str(told), str(told.request.url))  # type: ignore[attr-defined]
    else:
        error = {"message": "No images are made on Sundays.", "type": "closed", "code": 402}
        assert (402, {"error": error}) == (told.status_code, told.json())


class Gone(BaseException):
    """The caller goes on elsewhere while it waits for an answer of the check."""


@pytest.mark.parametrize("error", [Closed(), Gone()], ids=["refused", "gone"])
def test_the_next_attempt_has_the_number_of_one_that_was_not_sent(
    kit: Kit, meter: Meter, attempts: list[Attempt], error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    def show(*_: object) -> None:
        monkeypatch.undo()
        raise error

    async def scene() -> Any:
        client = kit.client(transport=Wire(kit).transport)
        pixelmeter.instrument(client.raw, meter)
        with pixelmeter.call() as call:
            with pytest.raises(type(error)):
                await posted(client)
            assert 0 == call.cost
            await posted(client)
        await client.close()
        return call

    monkeypatch.setattr(intake_of(meter).recorder, "show", show)
    call = kit.run(scene())
    assert [(0, "success")] == numbers(attempts)
    assert call.cost


def test_its_exception_can_be_copied_into_another_process() -> None:
    raised = raised_to(Closed("not today"), None)
    for copied in (pickle.loads(pickle.dumps(raised)), pickle.loads(pickle.dumps(Closed("not today")))):
        assert isinstance(copied, Closed)
        assert "not today" == str(copied)
