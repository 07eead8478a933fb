"""A body as text with repeats: pictures and exact numbers are put into JSON without holding the whole of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["EMPTY", "PICTURE", "Answer", "Body", "compose", "document", "number", "plain"]

PICTURE = "@picture@"
"""Stands in a document where the base64 text of the picture goes."""

_NUMBER = re.compile(r'"\\u0000([0-9.]+)"')


@dataclass(frozen=True, slots=True)
class Body:
    """Bytes to send, as (bytes, how often) in order."""

    segments: tuple[tuple[bytes, int], ...]

    @property
    def length(self) -> int:
        return sum(len(data) * repeats for data, repeats in self.segments)

    def pieces(self) -> Iterator[bytes]:
        for data, repeats in self.segments:
            for _ in range(repeats):
                yield data


EMPTY = Body(())


@dataclass(frozen=True, slots=True)
class Answer:
    """A response before it is delivered: what it says, not how it travels."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: Body


def plain(text: bytes) -> Body:
    """Return a body of just these bytes."""
    return Body(((text, 1),))


def number(text: str) -> str:
    """Return a mark that `document` turns into this very number, so that money never becomes a float."""
    return "\0" + text


def document(value: object) -> str:
    """Return a value as JSON text."""
    text = json.dumps(value, separators=(",", ":"))
    return _NUMBER.sub(r"\1", text) if "\\u0000" in text else text


def compose(text: str, picture: tuple[tuple[bytes, int], ...]) -> Body:
    """Return the text with the picture in each place marked for it."""
    first, *others = text.split(PICTURE)
    segments = [(first.encode(), 1)]
    for other in others:
        segments.extend(picture)
        segments.append((other.encode(), 1))
    return Body(tuple(segments))
