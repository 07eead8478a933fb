"""One attempt as bytes, and bytes as attempts, however damaged; the same of what is heard of jobs.

A frame is magic (4 bytes), length (u32), crc32 of the payload (u32), payload: msgpack of (format version, kind,
record), integers little endian. Format 1 has attempts only; the end of a job has format 2, so that an older pixelmeter
leaves it for a newer one. The magic begins with a byte that no UTF-8 text contains, so a reader that lost its
way can search for it.
"""

from __future__ import annotations

import struct
from functools import cache
from typing import Any, Final, Literal, NamedTuple, get_origin, get_type_hints
from zlib import crc32

import msgspec

from pixelmeter.core.attempts.jobs import JobEnd, Record
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.core.ports import Files

__all__ = [
    "INTENT",
    "JOB_END",
    "LARGEST_FRAME",
    "OUTCOME",
    "Frame",
    "FrameKind",
    "FrameReader",
    "Scan",
    "encode",
    "scan",
]

FrameKind = Literal[0, 1, 2]
INTENT: Final = 0
OUTCOME: Final = 1
JOB_END: Final = 2

_MAGIC = b"\xf5pxm"
_HEADER = struct.Struct("<4sII")
_FORMAT = 1
_JOB_FORMAT = 2
LARGEST_FRAME = 64 * 1024
"""Bytes; what is larger cannot be spooled."""
_CHUNK = 4 * LARGEST_FRAME

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(tuple[Literal[1], Literal[0, 1], Attempt])
_job_decoder = msgspec.msgpack.Decoder(tuple[Literal[2], Literal[2], JobEnd])
_version: msgspec.msgpack.Decoder[list[msgspec.Raw]] = msgspec.msgpack.Decoder(list[msgspec.Raw])


class Frame(NamedTuple):
    """A record as it was spooled; `end` is the offset behind it."""

    kind: FrameKind
    record: Record
    end: int


class Scan(NamedTuple):
    """What a stretch of bytes held: whole frames, bytes that belong to none, frames for a newer pixelmeter."""

    frames: list[Frame]
    used: int
    """Bytes that need not be looked at again."""
    damaged: int
    foreign: int
    """Whole frames that a newer pixelmeter can read: of another format version, or with words that this one lacks."""


def encode(kind: FrameKind, record: Record) -> bytes:
    """Return the frame of a record; raise ValueError, OverflowError or msgspec.MsgspecError when it has none."""
    payload = _encoder.encode((_FORMAT if kind != JOB_END else _JOB_FORMAT, kind, record))
    if len(payload) > LARGEST_FRAME - _HEADER.size:
        raise ValueError(f"a record of {len(payload)} bytes is too large to be spooled")
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
            frames.append(Frame(*_kind_and_record(payload), offset + end))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            if _is_foreign(payload):
                foreign += 1
            else:
                damaged += end - start
    used = len(data) if final else _unsettled(data, settled) if waiting is None else waiting
    return Scan(frames, used, damaged + used - settled, foreign)


class FrameReader:
    """Gives the frames of a file from its start, each once, over as many calls as it takes."""

    def __init__(self, files: Files, descriptor: int) -> None:
        self._files = files
        self.descriptor = descriptor
        self._position = 0
        self.frames = 0
        self.damaged = 0
        """Bytes so far that belong to no frame."""
        self.foreign = 0
        """Frames so far that only a newer pixelmeter can read."""

    def read(self, *, final: bool) -> list[Frame]:
        """Return the next frames, some hundred at most; [] at the end of the file.

        `final` says that nobody appends any more: a frame cut off at the end is damage then. Raises OSError.
        """
        while True:
            data = self._chunk()
            ended = len(data) < _CHUNK
            found = scan(data, self._position, final=final and ended)
            self._position += found.used
            self.frames += len(found.frames)
            self.damaged += found.damaged
            self.foreign += found.foreign
            if found.frames or ended:
                return found.frames

    def _chunk(self) -> bytes:
        data = b""
        while len(data) < _CHUNK:
            more = self._files.read(self.descriptor, self._position + len(data), _CHUNK - len(data))
            if not more:
                break
            data += more
        return data


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


def _kind_and_record(payload: bytes) -> tuple[FrameKind, Record]:
    # The second byte is the format, which tells what there is to decode.
    if payload[1:2] == b"\x02":
        return JOB_END, _job_decoder.decode(payload)[2]
    _, kind, attempt = _decoder.decode(payload)
    return kind, attempt


def _unsettled(data: bytes, settled: int) -> int:
    """Return where a magic that the end of the data cuts off begins."""
    for size in range(len(_MAGIC) - 1, 0, -1):
        if len(data) - size >= settled and data.endswith(_MAGIC[:size]):
            return len(data) - size
    return len(data)


def _is_foreign(payload: bytes) -> bool:
    try:
        form, kind = (msgspec.msgpack.decode(each, type=int) for each in _version.decode(payload)[:2])
        if form == _FORMAT:
            _newer_decoder(Attempt).decode(payload)
        elif (form, kind) == (_JOB_FORMAT, JOB_END):
            _newer_decoder(JobEnd).decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError):
        return False
    return True


@cache
def _newer_decoder(record: type[Record]) -> msgspec.msgpack.Decoder[Any]:
    """Return a decoder of the same fields with any word in place of those of a closed set, which may have grown."""
    hints = get_type_hints(record, include_extras=True)
    fields = [(name, str if get_origin(hints[name]) is Literal else hints[name]) for name in record.__struct_fields__]
    newer = msgspec.defstruct("Newer", fields, array_like=True, gc=False)
    return msgspec.msgpack.Decoder(tuple[int, FrameKind, newer])  # type: ignore[valid-type]
