"""Tags: who or what an attempt is spent for."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from contextvars import ContextVar
from types import TracebackType
from typing import Any, TypeVar, cast

import msgspec

from pixelmeter.core.gateways.profile import Tag
from pixelmeter.errors import ConfigError

__all__ = ["checked", "current", "encoded", "mapping", "tags", "trouble", "with_spend_tag"]

_TAGS_LIMIT = 16
_KEY_LIMIT = 64
_VALUE_LIMIT = 256
_AIG_TAG_LIMIT = 64

_T = TypeVar("_T")


class _Layer:
    """What an entered block has put on top of the one around it."""

    __slots__ = ("left", "outer", "tags", "trouble")

    def __init__(self, tags: Mapping[str, str], trouble: ConfigError | None, outer: _Layer | None) -> None:
        self.tags = tags
        self.trouble = trouble
        self.outer = outer
        self.left = False


_current: ContextVar[_Layer | None] = ContextVar("pixelmeter_tags", default=None)
_encode = msgspec.json.Encoder(order="sorted").encode


class tags:
    """Puts tags on every image call made inside the block, also on those of its tasks and of threads that copy the
    context.

        with pixelmeter.tags(team="growth", feature="hero"):
            client.images.generate(...)

        @pixelmeter.tags(feature="banner")
        async def banner(customer): ...

    Use it as a block, or as a decorator of a `def` or `async def`, generators included. Inner blocks add tags to those
    of outer ones, and replace those of the same name. `aig_tag` is also sent to AIgateway, as the header `x-aig-tag`,
    unless the request has that header.

    It never raises, whatever the values are. A value becomes text without characters that are not printable, and is cut
    to 256 characters (`aig_tag`: 64 of ASCII). None is no tag. A name must have 1 to 64 printable characters, and there
    are at most 16 tags; others are left out. Each attempt of which a tag was changed or left out is counted in
    `meter.status()["failures"]["tags"]`, and logged.
    """

    __slots__ = ("_entered", "_tags", "_trouble")

    def __init__(self, /, *others: object, **tags: object) -> None:
        self._tags, self._trouble = _cleaned(tags)
        if others:
            self._trouble = ConfigError("pixelmeter.tags takes names and values only: tags(team='growth')")
        self._entered: list[_Layer] = []

    def __enter__(self) -> None:
        outer = _current.get()
        tags, trouble = self._tags, self._trouble
        if outer is not None:
            tags, too_many = _first_ones({**outer.tags, **tags})
            trouble = trouble or too_many or outer.trouble
        layer = _Layer(tags, trouble, outer)
        self._entered.append(layer)
        _current.set(layer)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # Not a token: a generator may be closed in another context, where a token would raise, or in another block.
        here = _current.get()
        layer = here if here in self._entered else self._entered[-1]
        self._entered.remove(layer)
        layer.left = True
        if here is layer:
            outer = layer.outer
            while outer is not None and outer.left:
                outer = outer.outer
            _current.set(outer)

    def __call__(self, function: _T) -> _T:
        """Return the function with the tags on while it runs; what is no function comes back as it is."""
        given: Any = function
        if isinstance(given, staticmethod | classmethod):
            return cast("_T", type(given)(self(given.__func__)))  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
        if not callable(given) or isinstance(given, type):
            return function
        if inspect.iscoroutinefunction(given):
            wrapper: Callable[..., Any] = self._of_coroutine(given)
        elif inspect.isasyncgenfunction(given):
            wrapper = self._of_async_generator(given)
        elif inspect.isgeneratorfunction(given):
            wrapper = self._of_generator(given)
        else:
            wrapper = self._of_function(given)
        return cast("_T", functools.wraps(given)(wrapper))

    def _of_function(self, function: Callable[..., object]) -> Callable[..., object]:
        def tagged(*arguments: object, **options: object) -> object:
            with self:
                result = function(*arguments, **options)
            # Of a function that another decorator has hidden as a plain one.
            return self._awaited(result) if inspect.iscoroutine(result) else result

        return tagged

    def _of_coroutine(self, function: Callable[..., Awaitable[object]]) -> Callable[..., Awaitable[object]]:
        async def tagged(*arguments: object, **options: object) -> object:
            with self:
                return await function(*arguments, **options)

        return tagged

    async def _awaited(self, result: Awaitable[object]) -> object:
        with self:
            return await result

    # A generator runs in the context of whoever takes from it, which must not keep the tags in between.

    def _of_generator(
        self, function: Callable[..., Generator[object, object, object]]
    ) -> Callable[..., Generator[object, object, object]]:
        def tagged(*arguments: object, **options: object) -> Generator[object, object, object]:
            generator = function(*arguments, **options)
            step: Callable[[], object] = functools.partial(next, generator)
            while True:
                try:
                    with self:
                        item = step()
                except StopIteration as end:
                    return end.value
                try:
                    sent = yield item
                except GeneratorExit:
                    with self:
                        generator.close()
                    raise
                except BaseException as error:
                    step = functools.partial(generator.throw, error)
                else:
                    step = functools.partial(generator.send, sent)

        return tagged

    def _of_async_generator(
        self, function: Callable[..., AsyncGenerator[object, object]]
    ) -> Callable[..., AsyncGenerator[object, object]]:
        async def tagged(*arguments: object, **options: object) -> AsyncGenerator[object, object]:
            generator = function(*arguments, **options)
            step: Callable[[], Awaitable[object]] = generator.__anext__
            while True:
                try:
                    with self:
                        item = await step()
                except StopAsyncIteration:
                    return
                try:
                    sent = yield item
                except GeneratorExit:
                    with self:
                        await generator.aclose()
                    raise
                except BaseException as error:
                    step = functools.partial(generator.athrow, error)
                else:
                    step = functools.partial(generator.asend, sent)

        return tagged


def current() -> Mapping[str, str] | None:
    """Return the tags of the running context."""
    layer = _current.get()
    return None if layer is None else layer.tags


def trouble() -> ConfigError | None:
    """Return what could not be kept of the tags of the running context as it was given; None when all of it was."""
    layer = _current.get()
    return None if layer is None else layer.trouble


def with_spend_tag(
    tags: Mapping[str, str], tag: Tag, headers: Mapping[bytes, bytes]
) -> tuple[Mapping[str, str], tuple[str, str] | None]:
    """Return tags with the gateway's own as it is sent, and the header that is to be sent for it besides."""
    sent = headers.get(tag.request_header)
    given = tags.get("aig_tag") if sent is None else sent.decode("latin-1")
    if given is None:
        return tags, None
    cut = tag.cut(given)
    if cut != tags.get("aig_tag"):
        tags = {**tags, "aig_tag": cut}
    return tags, (tag.request_header.decode(), cut) if sent is None else None


def encoded(tags: Mapping[str, str]) -> str:
    """Return tags as the ledger keeps them: a JSON object, keys sorted."""
    return _encode(tags).decode()


def checked(tags: Mapping[str, str]) -> dict[str, str]:
    """Return the tags of a program's settings; ConfigError says which one cannot be used as it is."""
    for key, value in tags.items():
        if not isinstance(value, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigError(f"tag {str(key)[:80]!r} is {type(value).__name__}: use text, such as str(value)")
    cleaned, trouble = _cleaned(tags)
    if trouble is not None:
        raise trouble
    return cleaned


def mapping(name: str, value: object) -> Mapping[str, str]:
    """Return what an argument has, nothing for None; ConfigError where it is no mapping."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ConfigError(f"{name} is a {type(value).__name__}: give a dict")
    return cast("Mapping[str, str]", value)


def _cleaned(given: Mapping[Any, object]) -> tuple[dict[str, str], ConfigError | None]:
    """Return what can be kept, and the first thing that cannot be kept as it is."""
    kept: dict[str, str] = {}
    trouble: ConfigError | None = None
    for key, value in given.items():
        if not isinstance(key, str) or not 0 < len(key) <= _KEY_LIMIT or not key.isprintable():
            trouble = trouble or ConfigError(
                f"tag {str(key)[:80]!r}: a name has 1 to {_KEY_LIMIT} printable characters"
            )
        elif value is not None:
            text, wrong = _text(key, value)
            trouble = trouble or wrong
            if text is not None:
                kept[key] = text
    kept, too_many = _first_ones(kept)
    return kept, trouble or too_many


def _text(key: str, value: object) -> tuple[str | None, ConfigError | None]:
    try:
        text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
        # Not a subclass of str: what that does with itself is not known.
        text = str.__getitem__(text, slice(_VALUE_LIMIT + 1))
    except Exception as error:
        return None, ConfigError(f"tag {key!r} cannot be made text: {type(error).__name__}")
    kept = text[:_VALUE_LIMIT]
    if not kept.isprintable():
        kept = "".join(character if character.isprintable() else " " for character in kept).strip()
    limit = f"a value has at most {_VALUE_LIMIT} printable characters"
    if key == "aig_tag":
        kept = kept[:_AIG_TAG_LIMIT].encode("ascii", "replace").decode()
        limit = f"AIgateway takes at most {_AIG_TAG_LIMIT} ASCII characters"
    return kept, None if kept == text else ConfigError(f"tag {key!r}: {limit}")


def _first_ones(tags: dict[str, str]) -> tuple[dict[str, str], ConfigError | None]:
    if len(tags) <= _TAGS_LIMIT:
        return tags, None
    kept = dict(list(tags.items())[:_TAGS_LIMIT])
    return kept, ConfigError(f"{len(tags)} tags: use at most {_TAGS_LIMIT}")
