"""Tags follow the context they are set in."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Generator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from pixelmeter.errors import ConfigError
from pixelmeter.tagging import checked, current, encoded, tags, trouble


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


WRONG: list[tuple[dict[str, Any], dict[str, str], str]] = [
    ({"": "x"}, {}, "name"),
    ({"a" * 65: "x"}, {}, "64"),
    ({"a\n": "x"}, {}, "printable"),
    ({"a": "x" * 257}, {"a": "x" * 256}, "256"),
    ({"a": "x" * 10_000_000}, {"a": "x" * 256}, "256"),
    ({"a": "one\ttwo\r\n"}, {"a": "one two"}, "printable"),
    ({"a": "\x00"}, {"a": ""}, "printable"),
    ({"a": "\ud800!"}, {"a": "!"}, "printable"),
    ({"aig_tag": "x" * 65}, {"aig_tag": "x" * 64}, "64 ASCII"),
    ({"aig_tag": "größe"}, {"aig_tag": "gr??e"}, "64 ASCII"),
    ({f"k{n}": "v" for n in range(17)}, {f"k{n}": "v" for n in range(16)}, "at most 16"),
]


@pytest.mark.parametrize(("given", "kept", "problem"), WRONG)
def test_what_cannot_be_a_tag_is_cut_cleaned_or_left_out_and_told(
    given: dict[str, Any], kept: dict[str, str], problem: str
) -> None:
    with tags(**given):
        assert kept == current()
        assert problem in str(trouble())
    assert trouble() is None


@pytest.mark.parametrize(("given", "problem"), [(given, problem) for given, _, problem in WRONG])
def test_the_settings_of_a_program_are_refused_with_the_reason(given: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        checked(given)


def test_the_settings_of_a_program_are_text() -> None:
    with pytest.raises(ConfigError, match="int"):
        checked({"a": 7})  # type: ignore[dict-item]


class Hostile:
    def __init__(self, error: Exception) -> None:
        self.error = error

    def __str__(self) -> str:
        raise self.error


class Odd(str):
    """A text that does with itself what it likes."""

    __slots__ = ()

    def __getitem__(self, key: object) -> str:
        raise RuntimeError

    def isprintable(self) -> bool:
        raise RuntimeError


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (7, "7"), (0, "0"), (2.5, "2.5"), (True, "True"), (Decimal("1.10"), "1.10"), (UUID(int=1), str(UUID(int=1))),
        (b"caf\xc3\xa9", "café"), (b"\xff", "\ufffd"), (Odd("x"), "x"),
    ],
)  # fmt: skip
def test_a_value_that_is_no_text_becomes_text(value: object, text: str) -> None:
    with tags(customer=value):
        assert {"customer": text} == current()
        assert trouble() is None


def test_a_value_of_none_is_no_tag() -> None:
    with tags(team="growth", customer=None):
        assert {"team": "growth"} == current()
        assert trouble() is None


def test_a_value_that_cannot_be_made_text_is_left_out() -> None:
    for error in (ValueError(), RecursionError(), TypeError()):
        with tags(team="growth", customer=Hostile(error)):
            assert {"team": "growth"} == current()
            assert type(error).__name__ in str(trouble())


def test_whoever_gives_it_something_else_than_names_is_told_and_not_failed() -> None:
    with tags({"team": "growth"}, 7, feature="hero"):
        assert {"feature": "hero"} == current()
        assert "names and values" in str(trouble())


def test_a_tag_may_be_named_self() -> None:
    with tags(self="x"):
        assert {"self": "x"} == current()


def test_of_seventeen_tags_in_two_blocks_the_last_one_is_left_out() -> None:
    with tags(**{f"k{n}": "v" for n in range(16)}):
        with tags(k0="inner", one_more="v"):
            assert {f"k{n}": "v" for n in range(16)} | {"k0": "inner"} == current()
            assert "at most 16" in str(trouble())
        assert trouble() is None


def test_an_inner_block_does_not_hide_what_was_wrong_with_the_outer_one() -> None:
    with tags(team="x" * 300), tags(feature="hero"):
        assert "team" in str(trouble())


def test_a_function_runs_with_the_tags_and_keeps_its_name() -> None:
    @tags(feature="banner")
    def banner(customer: str, *, size: int = 1) -> tuple[str, int, object]:
        """Make a banner."""
        return customer, size, current()

    assert ("acme", 2, {"feature": "banner"}) == banner("acme", size=2)
    assert ("banner", "Make a banner.") == (banner.__name__, banner.__doc__)
    assert current() is None


def test_a_function_that_raises_leaves_its_tags() -> None:
    @tags(feature="banner")
    def banner() -> None:
        raise LookupError

    with pytest.raises(LookupError):
        banner()
    assert current() is None


def test_a_coroutine_function_runs_with_the_tags_to_its_end() -> None:
    @tags(feature="banner")
    async def banner() -> object:
        await asyncio.sleep(0)
        return current()

    async def both() -> list[object]:
        return [await banner(), current()]

    assert inspect.iscoroutinefunction(banner)
    assert [{"feature": "banner"}, None] == asyncio.run(both())


def test_a_coroutine_function_that_another_decorator_hides_has_the_tags_too() -> None:
    async def banner() -> object:
        return current()

    def hidden() -> Awaitable[object]:
        return banner()

    async def both() -> object:
        return await tags(feature="banner")(hidden)()

    assert {"feature": "banner"} == asyncio.run(both())


def test_a_generator_has_the_tags_while_it_runs_and_whoever_takes_from_it_has_not() -> None:
    seen: list[object] = []

    @tags(feature="banner")
    def banners() -> Generator[int, int, str]:
        try:
            seen.append(current())
            seen.append((yield 1))
            with pytest.raises(LookupError):
                yield 2
            seen.append(current())
            yield 3
        finally:
            seen.append(current())
        return "never"

    generator = banners()
    assert [1, None] == [next(generator), current()]
    assert [2, None] == [generator.send(7), current()]
    assert [3, None] == [generator.throw(LookupError()), current()]
    generator.close()
    assert [{"feature": "banner"}, 7, {"feature": "banner"}, {"feature": "banner"}] == seen

    @tags(feature="banner")
    def ends() -> Generator[int, None, str]:
        yield from ()
        return "the end"

    with pytest.raises(StopIteration, match="the end"):
        next(ends())


def test_an_async_generator_has_the_tags_while_it_runs_and_whoever_takes_from_it_has_not() -> None:
    seen: list[object] = []

    @tags(feature="banner")
    async def banners() -> AsyncGenerator[int, int]:
        try:
            seen.append(current())
            seen.append((yield 1))
            with pytest.raises(LookupError):
                yield 2
            seen.append(current())
            yield 3
        finally:
            await asyncio.sleep(0)
            seen.append(current())

    async def take() -> None:
        generator = banners()
        assert [1, None] == [await anext(generator), current()]
        assert [2, None] == [await generator.asend(7), current()]
        assert [3, None] == [await generator.athrow(LookupError()), current()]
        await generator.aclose()
        assert [1, 2] == [number async for number in two()]

    @tags(feature="banner")
    async def two() -> AsyncGenerator[int]:
        yield 1
        yield 2

    asyncio.run(take())
    assert [{"feature": "banner"}, 7, {"feature": "banner"}, {"feature": "banner"}] == seen


def test_methods_of_every_kind_are_functions() -> None:
    class Studio:
        @tags(kind="method")
        def method(self) -> object:
            return current()

        @tags(kind="class")
        @classmethod
        def of_class(cls) -> object:
            return current()

        @tags(kind="static")
        @staticmethod
        def static() -> object:
            return current()

    assert [{"kind": "method"}, {"kind": "class"}, {"kind": "static"}] == [
        Studio().method(), Studio.of_class(), Studio.static(),
    ]  # fmt: skip


def test_what_is_no_function_comes_back_as_it_is() -> None:
    class Studio: ...

    for thing in (Studio, 7, None):
        assert tags(team="growth")(thing) is thing


def test_a_decorated_function_may_call_itself_and_run_in_threads_at_once() -> None:
    @tags(feature="banner")
    def down(steps: int) -> object:
        return down(steps - 1) if steps else current()

    with ThreadPoolExecutor(4) as threads:
        assert [{"feature": "banner"}] * 40 == list(threads.map(down, [5] * 40))


def test_tags_are_kept_with_their_keys_sorted() -> None:
    assert '{"a":"1","b":"2"}' == encoded({"b": "2", "a": "1"})
