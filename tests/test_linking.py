"""Which attempts are one call: an SDK's retries, what is sent again, and blocks, which hold nobody once left."""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

import pixelmeter
from pixelmeter.linking import Block, Mark, current_block, link, show
from pixelmeter.testing import capture_calls

IDS = itertools.count()


def blocks() -> Iterator[Block | None]:
    """Give the block of a generator."""
    with pixelmeter.call():
        yield current_block()


def test_a_block_that_another_task_leaves_holds_the_first_one_no_longer() -> None:
    async def source() -> AsyncIterator[int]:
        with pixelmeter.call():
            yield 1

    async def main() -> None:
        numbers = source()
        with pixelmeter.call():
            around = current_block()
            await anext(numbers)
            assert around is not current_block()
            await asyncio.create_task(numbers.aclose())  # type: ignore[attr-defined]
            assert around is current_block()
        assert current_block() is None

    asyncio.run(main())


def test_a_generator_that_is_closed_in_another_block_leaves_that_one_alone() -> None:
    source = blocks()
    assert next(source) is current_block()
    with pixelmeter.call():
        inner = current_block()
        source.close()  # type: ignore[attr-defined]
        assert inner is current_block()
    assert current_block() is None


def test_a_task_that_outlives_its_block_is_in_it_no_longer() -> None:
    async def main() -> None:
        over = asyncio.Event()

        async def later() -> Block | None:
            await over.wait()
            return current_block()

        with pixelmeter.call():
            task = asyncio.create_task(later())
        over.set()
        assert await task is None

    asyncio.run(main())


def linked(retry: int | None, content: str = "a fox", *, context: dict[str, Any] | None = None) -> Mark:
    """Link a request of an SDK that counts its retries; each is a new one."""
    link_id = f"id-{next(IDS)}"
    return link({} if context is None else context, within=None, retry=retry, key=lambda: content, new_id=link_id)


def in_a_fresh_context(body: Callable[[], None]) -> None:
    contextvars.Context().run(body)


def test_retries_in_order_of_the_same_content_are_one_call() -> None:
    def body() -> None:
        marks = [linked(retry) for retry in (0, 1, 2)]
        assert [0, 1, 2] == [mark.attempt for mark in marks]
        assert 1 == len({mark.call_id for mark in marks})

    in_a_fresh_context(body)


def test_a_retry_of_other_content_is_a_call_of_its_own() -> None:
    def body() -> None:
        first, other = linked(0, "a fox"), linked(1, "a hare")
        assert first.call_id != other.call_id
        assert 1 == other.attempt

    in_a_fresh_context(body)


@pytest.mark.parametrize("counts", [(0, 2), (0, 0), (1, 1), (2, 1), (1, 3)])
def test_a_retry_out_of_order_is_a_call_of_its_own(counts: tuple[int, int]) -> None:
    def body() -> None:
        one, other = (linked(count) for count in counts)
        assert one.call_id != other.call_id
        assert counts[1] == other.attempt

    in_a_fresh_context(body)


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        ({}, [(0, 0), (0, 1)]),
        ({"prompt": "a hare"}, [(0, 0), (1, 1)]),
        ({"path": "edits"}, [(0, 0), (1, 1)]),
        ({"host": "h.test"}, [(0, 0), (1, 1)]),
    ],
    ids=["the same", "another prompt", "another path", "another host"],
)
def test_a_client_retries_a_call_only_with_what_it_sent_and_where(
    tmp_path: Path, other: dict[str, str], expected: list[tuple[int, int]]
) -> None:
    meter = pixelmeter.Meter(f"sqlite:///{tmp_path}/ledger.db")
    with (
        capture_calls() as attempts,
        httpx.Client(transport=httpx.MockTransport(lambda _: httpx.Response(503))) as client,
    ):
        pixelmeter.instrument(client, meter)
        for retry, given in enumerate(({}, other)):
            sent = {"prompt": "a fox", "path": "generations", "host": "g.test"} | given
            client.post(
                f"https://{sent['host']}/v1/images/{sent['path']}",
                json={"model": "m", "prompt": sent["prompt"]},
                headers={"x-stainless-retry-count": str(retry)},
            )
    calls = list(dict.fromkeys(attempt.call_id for attempt in attempts))
    assert expected == [(calls.index(attempt.call_id), attempt.attempt) for attempt in attempts]


def test_a_retry_in_another_task_is_a_call_of_its_own() -> None:
    first = contextvars.Context().run(linked, 0)
    assert first.call_id != contextvars.Context().run(linked, 1).call_id


def test_of_an_sdk_that_counts_no_retries_each_request_is_a_call() -> None:
    def body() -> None:
        assert linked(None).call_id != linked(None).call_id

    in_a_fresh_context(body)


def test_a_request_that_is_sent_again_goes_on_with_its_call_and_a_retry_after_it_goes_on_counting() -> None:
    def body() -> None:
        context: dict[str, Any] = {}
        marks = [linked(0, context=context), linked(0, context=context), linked(1)]
        assert [0, 1, 2] == [mark.attempt for mark in marks]
        assert 1 == len({mark.call_id for mark in marks})

    in_a_fresh_context(body)


class Hesitant(dict[str, Any]):
    """What a request carries along, read by both threads before either of them writes."""

    def __init__(self) -> None:
        super().__init__()
        self.both = threading.Barrier(2, timeout=60)

    def get(self, key: str, default: Any = None) -> Any:
        found = super().get(key, default)
        self.both.wait()
        return found


def test_threads_that_send_one_request_at_once_share_its_call_and_no_number() -> None:
    context = Hesitant()
    with ThreadPoolExecutor(2) as threads:
        marks = list(threads.map(lambda _: linked(None, context=context), range(2)))
    assert [0, 1] == sorted(mark.attempt for mark in marks)
    assert 1 == len({mark.call_id for mark in marks})


class View:
    """A view of blocks that has no interest in any."""

    def open_call(self, block: Block) -> Callable[[BaseException | None], None] | None:
        return None


@pytest.mark.slow
def test_views_come_and_go_while_blocks_are_entered() -> None:
    over = threading.Event()

    views = [View() for _ in range(100)]
    for view in views:
        show(view)

    def come_and_go() -> None:
        while not over.is_set():
            show(View())

    thread = threading.Thread(target=come_and_go)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    thread.start()
    try:
        for _ in range(3000):
            with pixelmeter.call():
                pass
    finally:
        over.set()
        thread.join()
        sys.setswitchinterval(before)


def test_a_view_that_is_collected_while_a_block_is_entered_has_no_other_passed_over() -> None:
    views: list[View] = []
    seen: list[int] = []

    class First(View):
        def open_call(self, block: Block) -> Callable[[BaseException | None], None] | None:
            views.clear()
            return None

    class Last(View):
        def open_call(self, block: Block) -> Callable[[BaseException | None], None] | None:
            seen.append(1)
            return None

    views.append(View())
    show(views[0])
    first, last = First(), Last()
    show(first)
    show(last)
    with pixelmeter.call():
        assert [1] == seen
