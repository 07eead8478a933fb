"""Calls that wait for a lease and are stopped meanwhile: nothing is sent, and what they asked for goes to others."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
import threading
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

import pixelmeter
from pixelmeter import BudgetExceeded
from pixelmeter.budgets.leasing import Leasing
from pixelmeter.budgets.spender import Ask
from pixelmeter.ledger.writer import BudgetWriter
from tests.clients import KITS, TRIO, Kit
from tests.drivers.limits import PRICE, Limited, MakeLimited, instrumented
from tests.drivers.wires import Wire, posted

SYNC = [kit for kit in KITS if not kit.is_async]
ASYNCIO = [kit for kit in KITS if kit.is_async]
EVERY = [*KITS, *TRIO]

sync_only = pytest.mark.parametrize("kit", SYNC, ids=str)
asyncio_only = pytest.mark.parametrize("kit", ASYNCIO, ids=str)
every_loop = pytest.mark.parametrize("kit", [*ASYNCIO, *TRIO], ids=str)


class Held:
    """A ledger that does not answer before it is released."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked = threading.Event()
        """Whether a call has asked for a lease."""
        self.asks: list[Ask] = []
        self._open = threading.Event()
        ask_really, serve_really = Leasing.ask, Leasing.serve

        def ask(leasing: Leasing, asks: Sequence[Ask]) -> None:
            self.asks.extend(asks)
            ask_really(leasing, asks)
            self.asked.set()

        def serve(leasing: Leasing, writer: BudgetWriter) -> float | None:
            assert self._open.wait(60)
            return serve_really(leasing, writer)

        monkeypatch.setattr(Leasing, "ask", ask)
        monkeypatch.setattr(Leasing, "serve", serve)

    def release(self) -> None:
        self._open.set()

    def answer(self) -> None:
        """Let the ledger answer, and return once it has."""
        self.release()
        assert self.asks[-1].over.wait(60)


@pytest.fixture
def tiny(limited: MakeLimited) -> Limited:
    """A meter with a budget for one call."""
    return limited(1)


@pytest.fixture
def held(tiny: Limited, monkeypatch: pytest.MonkeyPatch) -> Iterator[Held]:
    """Its ledger, which does not answer yet."""
    assert tiny.meter.flush(60)
    held = Held(monkeypatch)
    yield held
    held.release()


async def the_next_call_goes(kit: Kit, tiny: Limited) -> None:
    """Make the one call that the budget is for, which it lets go only if nothing is reserved."""
    client = instrumented(kit, tiny, transport=Wire(kit).transport)
    assert 200 == (await posted(client)).status_code
    with pytest.raises(BudgetExceeded):
        await posted(client)
    await client.close()


def nothing_is_left(tiny: Limited) -> None:
    assert ["success", "blocked"] == tiny.outcomes()
    assert (PRICE, 0, 0, 1) == tiny.sums()


@every_loop
def test_a_cancelled_scope_ends_the_wait(kit: Kit, tiny: Limited, held: Held) -> None:
    wire = Wire(kit)

    async def scene() -> None:
        client = instrumented(kit, tiny, transport=wire.transport)
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:

                async def cancel() -> None:
                    await anyio.to_thread.run_sync(held.asked.wait, 60)
                    scope.cancel()

                group.start_soon(cancel)
                await posted(client)
        assert scope.cancelled_caught
        held.release()
        await the_next_call_goes(kit, tiny)
        await client.close()

    kit.run(scene())
    assert [] == wire.sent
    nothing_is_left(tiny)


@asyncio_only
def test_a_cancelled_task_is_cancelled_while_it_waits(kit: Kit, tiny: Limited, held: Held) -> None:
    wire = Wire(kit)

    async def scene() -> None:
        client = instrumented(kit, tiny, transport=wire.transport)
        with pixelmeter.call() as call:
            task = asyncio.create_task(posted(client))
            await asyncio.to_thread(held.asked.wait, 60)
            task.cancel("mine")
            with pytest.raises(asyncio.CancelledError) as caught:
                await task
        assert ("mine",) == caught.value.args
        assert 0 == call.cost
        held.release()
        await the_next_call_goes(kit, tiny)
        await client.close()

    kit.run(scene())
    assert [] == wire.sent
    nothing_is_left(tiny)


@asyncio_only
def test_a_timeout_of_the_callers_ends_the_wait(kit: Kit, tiny: Limited, held: Held) -> None:
    wire = Wire(kit)

    async def scene() -> None:
        client = instrumented(kit, tiny, transport=wire.transport)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(None) as timeout:
                loop = asyncio.get_running_loop()
                threading.Thread(
                    target=lambda: held.asked.wait(60) and loop.call_soon_threadsafe(timeout.reschedule, 0)
                ).start()
                await posted(client)
        held.release()
        await the_next_call_goes(kit, tiny)
        await client.close()

    kit.run(scene())
    assert [] == wire.sent
    nothing_is_left(tiny)


@asyncio_only
@pytest.mark.parametrize("is_answered", [False, True])
def test_a_task_that_is_collected_with_its_closed_loop_holds_nothing(
    kit: Kit, tiny: Limited, held: Held, is_answered: bool
) -> None:
    wire = Wire(kit)
    loop = asyncio.new_event_loop()
    # It is told of a task that was destroyed while it was pending.
    loop.set_exception_handler(lambda loop, context: None)
    client = instrumented(kit, tiny, transport=wire.transport)
    task = loop.create_task(posted(client))
    loop.run_until_complete(asyncio.to_thread(held.asked.wait, 60))
    if is_answered:
        held.answer()
    loop.close()
    collected = weakref.ref(task)
    del task
    if not is_answered:
        gc.collect()
        held.answer()
    held.asks.clear()
    assert tiny.meter.flush(60)
    gc.collect()
    assert collected() is None
    kit.run(the_next_call_goes(kit, tiny))
    kit.run(client.close())
    assert [] == wire.sent
    nothing_is_left(tiny)


class Stop(Exception):
    """What a signal handler raises, as those do that limit the time of a job."""


def where() -> str:
    """Return the name of the innermost function of the main thread."""
    frame = sys._current_frames()[threading.main_thread().ident or 0]
    return f"{frame.f_code.co_filename.rpartition('/')[2]}:{frame.f_code.co_name}"


@sync_only
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, Stop])
@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="needs signals to threads")
def test_what_a_signal_handler_raises_ends_the_wait(
    kit: Kit, tiny: Limited, held: Held, error: type[BaseException]
) -> None:
    wire = Wire(kit)

    raised = threading.Event()

    def handler(*_: Any) -> None:
        if not raised.is_set():
            raised.set()
            raise error("mine")

    def interrupt() -> None:
        held.asked.wait(60)
        while where() != "threading.py:wait":
            threading.Event().wait(0.01)
        # Again, as one that comes just before a thread begins to wait does not wake it.
        while not raised.wait(0.01):
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    async def scene() -> None:
        client = instrumented(kit, tiny, transport=wire.transport)
        thread = threading.Thread(target=interrupt)
        thread.start()
        with pytest.raises(error, match="mine"):
            await posted(client)
        thread.join()
        held.release()
        await the_next_call_goes(kit, tiny)
        await client.close()

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        kit.run(scene())
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert [] == wire.sent
    nothing_is_left(tiny)


@pytest.mark.parametrize("kit", EVERY, ids=str)
def test_whoever_waits_goes_on_once_there_is_an_answer(kit: Kit, tiny: Limited, held: Held) -> None:
    wire = Wire(kit)

    def let_in() -> None:
        held.asked.wait(60)
        held.release()

    async def scene() -> None:
        client = instrumented(kit, tiny, transport=wire.transport)
        thread = threading.Thread(target=let_in)
        thread.start()
        assert 200 == (await posted(client)).status_code
        thread.join()
        await client.close()

    kit.run(scene())
    assert ["success"] == tiny.outcomes()
    assert (PRICE, 0, 0, 0) == tiny.sums()


@every_loop
def test_an_event_loop_goes_on_while_a_call_waits(kit: Kit, tiny: Limited, held: Held) -> None:
    wire = Wire(kit)
    steps: list[int] = []

    async def scene() -> None:
        client = instrumented(kit, tiny, transport=wire.transport)
        async with anyio.create_task_group() as group:

            async def tick() -> None:
                await anyio.to_thread.run_sync(held.asked.wait, 60)
                for step in range(100):
                    await anyio.lowlevel.checkpoint()
                    steps.append(step)
                assert [] == wire.sent
                held.release()

            group.start_soon(tick)
            assert 200 == (await posted(client)).status_code
        await client.close()

    kit.run(scene())
    assert 100 == len(steps)
