"""Our own copy of a compressed body, decoded as it passes and bounded; the client decodes its own."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

_SLICE = 65_536
_DECODED_LIMIT = 512 * 1024 * 1024

Decode = Callable[[bytes], Iterator[bytes]]


class Undecodable(Exception):
    """The body cannot be read: an encoding that is not known here, broken data, or a decompression bomb."""


def decoder(encoding: str) -> Decode | None:
    """Return what decodes the chunks of a Content-Encoding; None for a body that is not encoded.

    br and zstd are read where the `brotli` or `zstandard` package is there, which is when httpx asks for them.
    Raises Undecodable for anything else.
    """
    names = [name for name in encoding.lower().replace(" ", "").split(",") if name and name != "identity"]
    if not names:
        return None
    if len(names) > 1:
        raise Undecodable(encoding[:100])
    name = names[0]
    if name in ("gzip", "x-gzip"):
        return _bounded(_Gzip())
    if name == "deflate":
        return _bounded(_Deflate())
    try:
        if name == "br":
            brotli: Any = import_module("brotli")
            return _bounded(_Whole(brotli.Decompressor().process))
        if name == "zstd":
            zstandard: Any = import_module("zstandard")
            return _bounded(_Whole(zstandard.ZstdDecompressor().decompressobj().decompress))
    except ImportError:
        pass
    raise Undecodable(name[:100])


def _bounded(decode: Decode) -> Decode:
    seen = 0

    def limited(chunk: bytes) -> Iterator[bytes]:
        nonlocal seen
        try:
            for piece in decode(chunk):
                seen += len(piece)
                if seen > _DECODED_LIMIT:
                    raise Undecodable("over the limit")
                yield piece
        except Undecodable:
            raise
        except Exception as error:  # every codec has its own error class
            raise Undecodable(type(error).__name__) from error

    return limited


class _Gzip:
    """A zlib codec, which gives its output in bounded slices."""

    def __init__(self, window: int = zlib.MAX_WBITS | 16) -> None:
        self._codec = zlib.decompressobj(window)

    def __call__(self, chunk: bytes) -> Iterator[bytes]:
        piece = self._codec.decompress(chunk, _SLICE)
        while piece:
            yield piece
            piece = self._codec.decompress(self._codec.unconsumed_tail, _SLICE)


class _Deflate:
    """What is called deflate: zlib, or the raw stream that some servers send; its first two bytes tell which."""

    def __init__(self) -> None:
        self._head = b""
        self._codec: _Gzip | None = None

    def __call__(self, chunk: bytes) -> Iterator[bytes]:
        if self._codec is None:
            chunk = self._head + chunk
            if len(chunk) < 2:
                self._head = chunk
                return
            is_zlib = chunk[0] & 15 == 8 and int.from_bytes(chunk[:2], "big") % 31 == 0
            self._codec = _Gzip(zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS)
        yield from self._codec(chunk)


class _Whole:
    """A codec that decodes a chunk in one go, fed in slices so that one chunk cannot swell without limit."""

    def __init__(self, decode: Callable[[bytes], bytes]) -> None:
        self._decode = decode

    def __call__(self, chunk: bytes) -> Iterator[bytes]:
        for at in range(0, len(chunk), _SLICE):
            yield self._decode(chunk[at : at + _SLICE])
