"""One attempt as bytes, and bytes as attempts, however damaged.

A frame is magic (4 bytes), length (u32), crc32 of the payload (u32), payload: msgpack of (format version, kind,
attempt), integers little endian. The magic begins with a byte that no UTF-8 text contains, so a reader that lost its
way can search for it.
"""

from __future__ import annotations

import struct
from functools import cache
from typing import Any, Final, Literal, NamedTuple, get_origin, get_type_hints
from zlib import crc32

import msgspec

from pixelmeter.core.attempts.record import FIELDS, Attempt

__all__ = ["INTENT", "LARGEST_FRAME", "OUTCOME", "Frame", "Kind", "Scan", "encode", "scan"]

Kind = Literal[0, 1]
INTENT: Final = 0
OUTCOME: Final = 1

_MAGIC = b"\xf5pxm"
_HEADER = struct.Struct("<4sII")
_FORMAT = 1
LARGEST_FRAME = 64 * 1024
"""Bytes; what is larger cannot be spooled."""

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(tuple[Literal[1], Kind, Attempt])
_version: msgspec.msgpack.Decoder[list[msgspec.Raw]] = msgspec.msgpack.Decoder(list[msgspec.Raw])


class Frame(NamedTuple):
    """An attempt as it was spooled; `end` is the offset behind it."""

    kind: Kind
    attempt: Attempt
    end: int


class Scan(NamedTuple):
    """What a stretch of bytes held: whole frames, bytes that belong to none, frames for a newer pixelmeter."""

    frames: list[Frame]
    used: int
    """Bytes that need not be looked at again."""
    damaged: int
    foreign: int
    """Whole frames that a newer pixelmeter can read: of another format version, or with words that this one lacks."""


def encode(kind: Kind, attempt: Attempt) -> bytes:
    """Return the frame of an attempt; raise ValueError, OverflowError or msgspec.MsgspecError when it has none."""
    payload = _encoder.encode((_FORMAT, kind, attempt))
    if len(payload) > LARGEST_FRAME - _HEADER.size:
        raise ValueError(f"an attempt of {len(payload)} bytes is too large to be spooled")
    return _HEADER.pack(_MAGIC, len(payload), crc32(payload)) + payload


def scan(data: bytes, offset: int, *, final: bool) -> Scan:
    """Return the frames in `data`, which begins at `offset` of its file; never raises.

    A frame that is cut off at the end is left for the next scan, unless the data is `final` or a later frame is whole:
    appends are one after the other, so the earlier one has ended then.
    """
    frames: list[Frame] = []
    settled = damaged = foreign = search = 0
    waiting: int | None = None
    while (start := data.find(_MAGIC, search)) >= 0:
        payload = _payload(data, start)
        if not payload:
            if payload is None and waiting is None:
                waiting = start
            search = start + 1
            continue
        end = start + _HEADER.size + len(payload)
        damaged += start - settled
        settled = search = end
        waiting = None
        try:
            _, kind, attempt = _decoder.decode(payload)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            if _is_foreign(payload):
                foreign += 1
            else:
                damaged += end - start
        else:
            frames.append(Frame(kind, attempt, offset + end))
    used = len(data) if final else _unsettled(data, settled) if waiting is None else waiting
    return Scan(frames, used, damaged + used - settled, foreign)


def _payload(data: bytes, start: int) -> bytes | None:
    """Return the payload of the frame at `start`, b"" when it is no frame, None when it is not all there."""
    body = start + _HEADER.size
    if body > len(data):
        return None
    _, length, checksum = _HEADER.unpack_from(data, start)
    if length > LARGEST_FRAME - _HEADER.size:
        return b""
    payload = data[body : body + length]
    if len(payload) < length:
        return None
    return payload if crc32(payload) == checksum else b""


def _unsettled(data: bytes, settled: int) -> int:
    """Return where a magic that the end of the data cuts off begins."""
    for size in range(len(_MAGIC) - 1, 0, -1):
        if len(data) - size >= settled and data.endswith(_MAGIC[:size]):
            return len(data) - size
    return len(data)


def _is_foreign(payload: bytes) -> bool:
    try:
        if msgspec.msgpack.decode(_version.decode(payload)[0], type=int) == _FORMAT:
            _newer_decoder().decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, IndexError):
        return False
    return True


@cache
def _newer_decoder() -> msgspec.msgpack.Decoder[Any]:
    """Return a decoder of the same fields with any word in place of those of a closed set, which may have grown."""
    hints = get_type_hints(Attempt, include_extras=True)
    fields = [(name, str if get_origin(hints[name]) is Literal else hints[name]) for name in FIELDS]
    newer = msgspec.defstruct("Newer", fields, array_like=True, gc=False)
    return msgspec.msgpack.Decoder(tuple[Literal[1], Kind, newer])  # type: ignore[valid-type]
