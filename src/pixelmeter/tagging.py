"""Tags: who or what an attempt is spent for."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from types import TracebackType

import msgspec

from pixelmeter.errors import ConfigError

__all__ = ["checked", "current", "encoded", "tags"]

_TAGS_LIMIT = 16
_KEY_LIMIT = 64
_VALUE_LIMIT = 256
_AIG_TAG_LIMIT = 64


class _Layer:
    """What an entered block has put on top of the one around it."""

    __slots__ = ("left", "outer", "tags")

    def __init__(self, tags: Mapping[str, str], outer: _Layer | None) -> None:
        self.tags = tags
        self.outer = outer
        self.left = False


_current: ContextVar[_Layer | None] = ContextVar("pixelmeter_tags", default=None)
_encode = msgspec.json.Encoder(order="sorted").encode


class tags:
    """Put tags on every image call made inside the block, in its tasks and in threads that copy the context.

        with pixelmeter.tags(team="growth", feature="hero"):
            client.images.generate(...)

    Inner blocks add to outer ones and win over them. `aig_tag` is also sent to AIgateway, as its `x-aig-tag` header,
    where the request has none. Raises ConfigError for more than 16 tags, a key over 64 characters, a value that is no
    text or over 256 characters, an `aig_tag` over 64 or not ASCII.
    """

    __slots__ = ("_entered", "_tags")

    def __init__(self, **tags: str) -> None:
        self._tags = checked(tags)
        self._entered: list[_Layer] = []

    def __enter__(self) -> None:
        outer = _current.get()
        layer = _Layer(self._tags if outer is None else checked({**outer.tags, **self._tags}), outer)
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


def current() -> Mapping[str, str] | None:
    """Return the tags of the running context."""
    layer = _current.get()
    return None if layer is None else layer.tags


def encoded(tags: Mapping[str, str]) -> str:
    """Return tags as the ledger keeps them: a JSON object, keys sorted."""
    return _encode(tags).decode()


def checked(tags: Mapping[str, str]) -> dict[str, str]:
    """Return the tags; ConfigError says which one cannot be used."""
    if len(tags) > _TAGS_LIMIT:
        raise ConfigError(f"{len(tags)} tags: use at most {_TAGS_LIMIT}")
    for key, value in tags.items():
        if not key or len(key) > _KEY_LIMIT or not key.isprintable():
            raise ConfigError(f"tag {key[:80]!r}: a name has 1 to {_KEY_LIMIT} printable characters")
        if not isinstance(value, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigError(f"tag {key!r} is {type(value).__name__}: use text, such as str(value)")
        if len(value) > _VALUE_LIMIT or not value.isprintable():
            raise ConfigError(f"tag {key!r}: a value has at most {_VALUE_LIMIT} printable characters")
    aig_tag = tags.get("aig_tag", "")
    if len(aig_tag) > _AIG_TAG_LIMIT or not aig_tag.isascii():
        raise ConfigError(f"tag 'aig_tag': AIgateway takes at most {_AIG_TAG_LIMIT} ASCII characters")
    return dict(tags)
