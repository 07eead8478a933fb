"""The dimensions of an image, from its first bytes or the first characters of its base64 text."""

from __future__ import annotations

import base64
import binascii
import struct

_PNG = b"\x89PNG\r\n\x1a\n"
_HEAD = 64  # characters, 48 bytes


def size_of(base64_head: str) -> str | None:
    """Return "WIDTHxHEIGHT" in pixels of a PNG, WebP or GIF; None for anything else.

    A JPEG keeps its dimensions behind metadata of any length, so its head does not tell.
    """
    try:
        head = base64.b64decode(base64_head[:_HEAD][: len(base64_head) & ~3], validate=True)
    except (binascii.Error, ValueError):
        return None
    return size_in(head)


def size_in(head: bytes) -> str | None:
    """Return the same of the first bytes of an image; 48 are enough."""
    if head.startswith(_PNG) and head[12:16] == b"IHDR" and len(head) >= 24:
        width, height = struct.unpack(">II", head[16:24])
    elif head[:6] in (b"GIF87a", b"GIF89a") and len(head) >= 10:
        width, height = struct.unpack("<HH", head[6:10])
    elif head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return _webp(head)
    else:
        return None
    return _text(width, height)


def _webp(head: bytes) -> str | None:
    kind = head[12:16]
    if kind == b"VP8X" and len(head) >= 30:
        return _text(int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1)
    if kind == b"VP8L" and len(head) >= 25:
        bits = int.from_bytes(head[21:25], "little")
        return _text((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    if kind == b"VP8 " and len(head) >= 30:
        width, height = struct.unpack("<HH", head[26:30])
        return _text(width & 0x3FFF, height & 0x3FFF)
    return None


def _text(width: int, height: int) -> str | None:
    return f"{width}x{height}" if 0 < width <= 100_000 and 0 < height <= 100_000 else None
