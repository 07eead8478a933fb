"""Bodies: JSON text, pictures of any size, and content encodings. A large body is never held whole."""

from __future__ import annotations

import base64
import importlib
import json
import re
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeGuard

__all__ = [
    "EMPTY",
    "LARGEST_SIDE",
    "PICTURE",
    "Answer",
    "Body",
    "MissingEncoder",
    "compose",
    "document",
    "encoder",
    "is_list",
    "is_object",
    "number",
    "picture",
    "picture_text",
    "plain",
]


def is_object(value: Any) -> TypeGuard[dict[str, Any]]:
    """Return whether it is a JSON object."""
    return isinstance(value, dict)


def is_list(value: Any) -> TypeGuard[list[Any]]:
    """Return whether it is a JSON array."""
    return isinstance(value, list)


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


LARGEST_SIDE = 4096

_SIGNATURE_AND_IHDR = 33
# A multiple of three, so that every padding chunk has the same base64 text wherever it stands.
_PADDING = 49_152
_SMALLEST_CHUNK = 12


@lru_cache(maxsize=32)
def picture(width: int, height: int, seed: int = 0) -> bytes:
    """Return a PNG of that many pixels: a colour gradient that depends on nothing but the seed."""
    compressor = zlib.compressobj(1)
    rows = bytearray()
    for y in range(height):
        shade = 255 * y // height
        pixel = bytes(((seed * 67 + shade) & 255, (seed * 31 + 96) & 255, 255 - shade))
        rows += compressor.compress(b"\0" + pixel * width)
    rows += compressor.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", bytes(rows)) + _chunk(b"IEND", b"")


@lru_cache(maxsize=64)
def picture_text(width: int, height: int, seed: int = 0, weight: int = 0) -> tuple[tuple[bytes, int], ...]:
    """Return the base64 text of a PNG as (text, how often) in order, at least `weight` characters in all.

    The padding is a private PNG chunk repeated between header and pixels, so it stays a valid picture and a text of
    64 MB takes 64 kB of memory. A weight that is not a multiple of 4 is rounded up.
    """
    png = picture(width, height, seed)
    missing = -(-weight // 4) * 3 - len(png)
    if missing <= 0:
        return ((base64.b64encode(png), 1),)
    repeats, rest = divmod(missing, _PADDING)
    last = _padding(max(rest, _SMALLEST_CHUNK)) if rest else b""
    return (
        (base64.b64encode(png[:_SIGNATURE_AND_IHDR]), 1),
        (base64.b64encode(_padding(_PADDING)), repeats),
        (base64.b64encode(last + png[_SIGNATURE_AND_IHDR:]), 1),
    )


def _padding(size: int) -> bytes:
    return _chunk(b"paDd", bytes(size - _SMALLEST_CHUNK))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


_Feed = Callable[[bytes], bytes]
_Finish = Callable[[], bytes]


class MissingEncoder(Exception):
    """An encoding whose module is not installed; the text says which."""


def encoder(name: str) -> Callable[[Iterable[bytes]], Iterator[bytes]]:
    """Return what compresses the pieces of a body; raise MissingEncoder."""
    feed, finish = _parts(name)

    def encode(pieces: Iterable[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            if data := feed(piece):
                yield data
        yield finish()

    return encode


def _parts(name: str) -> tuple[_Feed, _Finish]:
    if name in ("gzip", "deflate"):
        compressor = zlib.compressobj(1, zlib.DEFLATED, 31 if name == "gzip" else 15)
        return compressor.compress, compressor.flush
    module_name = "brotli" if name == "br" else "zstandard"
    try:
        module: Any = importlib.import_module(module_name)
    except ImportError:
        raise MissingEncoder(f"the encoding {name} needs the {module_name} module: pip install {module_name}") from None
    if name == "br":
        brotli = module.Compressor(quality=1)
        return brotli.process, brotli.finish
    zstandard = module.ZstdCompressor(level=1).compressobj()
    return zstandard.compress, zstandard.flush
