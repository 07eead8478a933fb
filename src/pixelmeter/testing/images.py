"""Pictures to hand out: real PNG files of any size, made once per size, and padded to any weight without being held."""

from __future__ import annotations

import base64
import struct
import zlib
from functools import lru_cache

__all__ = ["LARGEST_SIDE", "picture", "picture_text"]

LARGEST_SIDE = 4096

_SIGNATURE_AND_IHDR = 33
# A multiple of three, so that every padding chunk has the same base64 text wherever it stands.
_PADDING = 49_152
_SMALLEST_CHUNK = 12


@lru_cache(maxsize=32)
def picture(width: int, height: int, seed: int = 0) -> bytes:
    """Return a PNG of that many pixels: a colour gradient that depends on the seed only."""
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
