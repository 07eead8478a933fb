"""Tags follow the context they are set in."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import AsyncIterator, Generator

import pytest

from pixelmeter.errors import ConfigError
from pixelmeter.tagging import current, encoded, tags


def test_inner_tags_add_to_outer_ones_and_win() -> None:
    with tags(team="growth", feature="hero"):
        with tags(feature="banner"):
            assert {"team": "growth", "feature": "banner"} == current()
        assert {"team": "growth", "feature": "hero"} == current()
    assert current() is None


def test_the_same_tags_can_be_entered_twice_at_once() -> None:
    both = tags(team="growth")
    with both, both:
        assert {"team": "growth"} == current()
    assert current() is None


def test_tasks_have_their_own_and_inherit() -> None:
    async def inner(name: str) -> dict[str, str]:
        with tags(task=name):
            await asyncio.sleep(0)
            return dict(current() or {})

    async def outer() -> list[dict[str, str]]:
        with tags(team="growth"):
            return list(await asyncio.gather(inner("a"), inner("b")))

    assert [{"team": "growth", "task": "a"}, {"team": "growth", "task": "b"}] == asyncio.run(outer())


def test_threads_that_copy_the_context_have_the_tags_and_others_have_none() -> None:
    seen: list[object] = []
    with tags(team="growth"):
        context = contextvars.copy_context()
        for target in (lambda: context.run(lambda: seen.append(current())), lambda: seen.append(current())):
            thread = threading.Thread(target=target)
            thread.start()
            thread.join()
    assert [{"team": "growth"}, None] == seen


def test_a_generator_closed_in_another_context_does_not_raise() -> None:
    async def generate() -> AsyncIterator[int]:
        with tags(team="growth"):
            yield 1
            yield 2

    async def close_elsewhere() -> None:
        generator = generate()
        await anext(generator)
        await asyncio.create_task(generator.aclose())  # type: ignore[attr-defined]

    asyncio.run(close_elsewhere())


def test_a_generator_that_is_closed_inside_another_block_leaves_its_tags_alone() -> None:
    def generate() -> Generator[int]:
        with tags(team="growth"):
            yield 1

    generator = generate()
    next(generator)
    with tags(team="design"):
        generator.close()
        assert {"team": "design"} == current()
    assert current() is None


def test_blocks_that_tasks_share_are_left_by_each_on_its_own() -> None:
    shared = tags(team="growth")

    async def inside(mine: asyncio.Event, others: asyncio.Event) -> object:
        with shared:
            mine.set()
            await others.wait()
        return current()

    async def both() -> list[object]:
        first, second = asyncio.Event(), asyncio.Event()
        return list(await asyncio.gather(inside(first, second), inside(second, first)))

    assert [None, None] == asyncio.run(both())


def test_a_task_that_outlives_the_block_keeps_its_tags() -> None:
    async def later(go: asyncio.Event) -> object:
        await go.wait()
        return current()

    async def outer() -> object:
        go = asyncio.Event()
        with tags(team="growth"):
            task = asyncio.create_task(later(go))
        go.set()
        return await task

    assert {"team": "growth"} == asyncio.run(outer())


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"": "x"}, "name"),
        ({"a" * 65: "x"}, "64"),
        ({"a": "x" * 257}, "256"),
        ({"a": 7}, "int"),
        ({"a\n": "x"}, "printable"),
        ({"a": "\x00"}, "printable"),
        ({"aig_tag": "x" * 65}, "64 ASCII"),
        ({"aig_tag": "größe"}, "64 ASCII"),
        ({f"k{n}": "v" for n in range(17)}, "at most 16"),
    ],
)
def test_what_cannot_be_a_tag_is_refused_with_the_reason(given: dict[str, str], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        tags(**given)


def test_seventeen_tags_in_two_blocks_are_refused_at_the_inner_one() -> None:
    with tags(**{f"k{n}": "v" for n in range(16)}), pytest.raises(ConfigError, match="at most 16"), tags(one_more="v"):
        raise AssertionError("not reached")


def test_tags_are_kept_with_their_keys_sorted() -> None:
    assert '{"a":"1","b":"2"}' == encoded({"b": "2", "a": "1"})
