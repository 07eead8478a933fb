"""Which call an attempt belongs to: the retry that an SDK counts, and the block that it is made in."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import httpx
import pytest

import pixelmeter
from pixelmeter.calls import Block, current_block, show
from pixelmeter.testing import capture_calls


@pytest.fixture
def client(tmp_path: Path) -> Iterator[httpx.Client]:
    """A metered client that is told to come again."""
    meter = pixelmeter.Meter(f"sqlite:///{tmp_path}/ledger.db")
    with httpx.Client(transport=httpx.MockTransport(lambda _: httpx.Response(503))) as client:
        yield pixelmeter.instrument(client, meter)


def numbered(client: httpx.Client, *sent: dict[str, object]) -> list[tuple[int, int]]:
    """Send requests one after the other; return for each which of the calls it was of, and its number in that."""
    with capture_calls() as attempts:
        for one in sent:
            given = {"retry": 0, "prompt": "a fox", "path": "generations", "host": "g.test"} | one
            headers = {} if given["retry"] is None else {"x-stainless-retry-count": str(given["retry"])}
            url = f"https://{given['host']}/v1/images/{given['path']}"
            client.post(url, json={"model": "m", "prompt": given["prompt"]}, headers=headers)
    calls = list(dict.fromkeys(attempt.call_id for attempt in attempts))
    return [(calls.index(attempt.call_id), attempt.attempt) for attempt in attempts]


def test_a_retry_of_the_same_content_is_the_next_attempt_of_its_call(client: httpx.Client) -> None:
    assert [(0, 0), (0, 1), (0, 2), (1, 0)] == numbered(client, {}, {"retry": 1}, {"retry": 2}, {})


@pytest.mark.parametrize("other", [{"prompt": "a dog"}, {"path": "edits"}, {"host": "h.test"}])
def test_a_retry_of_another_content_or_to_another_place_is_of_another_call(
    client: httpx.Client, other: dict[str, object]
) -> None:
    assert [(0, 0), (1, 1)] == numbered(client, {}, {"retry": 1} | other)


@pytest.mark.parametrize("retries", [(0, 0), (0, 2), (1, 1), (1, 0), (2, 1), (0, None), (None, 0)])
def test_what_is_not_the_retry_after_the_latest_is_of_another_call(
    client: httpx.Client, retries: tuple[int | None, int | None]
) -> None:
    first, second = retries
    assert [(0, first or 0), (1, second or 0)] == numbered(client, {"retry": first}, {"retry": second})


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


class View:
    """A view of blocks that has no interest in any."""

    def open_call(self, block: Block) -> Callable[[BaseException | None], None] | None:
        return None


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
