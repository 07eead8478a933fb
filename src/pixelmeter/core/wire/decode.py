"""Our own copy of a compressed body, decoded as it passes and bounded; the client decodes its own."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

__all__ = ["BrokenBody", "NotDecoded", "Take", "decoder"]

Take = Callable[[bytes], None]
"""Takes the next bytes of a body."""

_SLICE = 65_536
_LARGEST = 512 * 1024 * 1024
# A picture of one colour that its own format does not compress may shrink by a thousand. So may a bomb.
_LARGEST_SWOLLEN = 64 * 1024 * 1024
_SWOLLEN = 200
# RFC 9659: nobody needs a larger window to read zstd from the web. As a power of two.
_ZSTD_WINDOW = 23
# A frame that ends has what is left of its slice copied, and a frame may be nine bytes long.
_FRAMES_SLICE = 4096


class NotDecoded(Exception):
    """The body may be in order, but it is not decoded here: no codec, none that can be bounded, or a bomb."""


class BrokenBody(Exception):
    """The body is not what its Content-Encoding says."""


def decoder(encoding: str, take: Take) -> Take | None:
    """Return what takes an encoded body and gives `take` the decoded one, in pieces of 64 kB or a little more.

    None for a body that is not encoded. A name that the HTTP libraries do not know counts as that, as it does there.
    br and zstd are read by whatever package the libraries read them with: brotli or brotlicffi, zstandard,
    compression.zstd or backports.zstd. Raises NotDecoded where there is none, or none that can be bounded; what is
    returned raises it for a bomb, and BrokenBody.
    """
    names = [name for name in map(str.strip, encoding.lower().split(",")) if name in _CODECS]
    return _Bounded(names, take).feed if names else None


class _Bounded:
    """A chain of codecs that stops when what comes out of one of them is too much."""

    def __init__(self, names: Sequence[str], take: Take) -> None:
        self._fed = 0
        self._taken_badly = False
        self._last = take
        decode: Take = self._hand_on
        # They are named in the order in which they were applied, so the last one comes off first.
        for name in names:
            decode = _codec(name)(self._counting(decode))
        self._decode = decode

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes."""
        # In slices: some codecs copy what they have not read yet each time that they give a piece.
        for at in range(0, len(chunk), _SLICE):
            part = chunk[at : at + _SLICE]
            self._fed += len(part)
            try:
                self._decode(part)
            except NotDecoded:
                raise
            except Exception as error:  # every codec has its own error class
                if self._taken_badly:
                    raise
                if "too much memory" in str(error):  # zstd, of a larger window
                    raise NotDecoded("window") from error
                raise BrokenBody(type(error).__name__) from error

    def _hand_on(self, piece: bytes) -> None:
        self._taken_badly = True
        self._last(piece)
        self._taken_badly = False

    def _counting(self, take: Take) -> Take:
        seen = 0

        def counted(piece: bytes) -> None:
            nonlocal seen
            seen += len(piece)
            if seen > _LARGEST or (seen > _LARGEST_SWOLLEN and seen > self._fed * _SWOLLEN):
                raise NotDecoded("bomb")
            take(piece)

        return counted


def _codec(name: str) -> Callable[[Take], Take]:
    for codec in _CODECS[name]:
        try:
            codec(lambda piece: None)
        except (ImportError, AttributeError, TypeError):  # not there, or too old to be bounded
            continue
        return codec
    raise NotDecoded(name)


class _Zlib:
    """gzip or zlib."""

    def __init__(self, take: Take, window: int = zlib.MAX_WBITS | 16) -> None:
        self._take = take
        self._codec = zlib.decompressobj(window)

    def __call__(self, chunk: bytes) -> None:
        piece = self._codec.decompress(chunk, _SLICE)
        while piece:
            self._take(piece)
            piece = self._codec.decompress(self._codec.unconsumed_tail, _SLICE)


class _Deflate:
    """What is called deflate: zlib, or the raw stream that some servers send; its first two bytes tell which."""

    def __init__(self, take: Take) -> None:
        self._take = take
        self._head = b""
        self._codec: _Zlib | None = None

    def __call__(self, chunk: bytes) -> None:
        if self._codec is None:
            chunk = self._head + chunk
            if len(chunk) < 2:
                self._head = chunk
                return
            is_zlib = chunk[0] & 15 == 8 and int.from_bytes(chunk[:2], "big") % 31 == 0
            self._codec = _Zlib(self._take, zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS)
        self._codec(chunk)


def _brotli(take: Take) -> Take:
    codec: Any = import_module("brotli").Decompressor()
    return _until_empty(codec.process, take)


def _brotlicffi(take: Take) -> Take:
    codec: Any = import_module("brotlicffi").Decompressor()
    return _until_empty(codec.decompress, take)


def _until_empty(decompress: Any, take: Take) -> Take:
    # Version 1.2 of either package brought the limit; one without it raises TypeError here.
    decompress(b"", output_buffer_limit=_SLICE)

    def decode(chunk: bytes) -> None:
        piece = decompress(chunk, output_buffer_limit=_SLICE)
        while piece:
            take(piece)
            piece = decompress(b"", output_buffer_limit=_SLICE)

    return decode


def _zstandard(take: Take) -> Take:
    class Sink:
        def write(self, piece: bytes) -> int:
            take(bytes(piece))
            return len(piece)

    codec: Any = import_module("zstandard").ZstdDecompressor(max_window_size=1 << _ZSTD_WINDOW)
    write: Callable[[bytes], Any] = codec.stream_writer(Sink(), write_size=_SLICE).write
    return write


class _ZstdFrames:
    """The standard library's zstd, and its backport: an object of it reads one frame, and a body may have several."""

    def __init__(self, take: Take, library: str) -> None:
        self._take = take
        self._zstd: Any = import_module(library)
        self._codec = self._frame()

    def __call__(self, chunk: bytes) -> None:
        for at in range(0, len(chunk), _FRAMES_SLICE):
            rest = chunk[at : at + _FRAMES_SLICE]
            while rest:
                if self._codec.eof:
                    self._codec = self._frame()
                piece = self._codec.decompress(rest, _SLICE)
                while piece:
                    self._take(piece)
                    done = self._codec.eof or self._codec.needs_input
                    piece = b"" if done else self._codec.decompress(b"", _SLICE)
                rest = self._codec.unused_data if self._codec.eof else b""

    def _frame(self) -> Any:
        zstd = self._zstd
        return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW})


_CODECS: Mapping[str, Sequence[Callable[[Take], Take]]] = {
    "gzip": [_Zlib],
    "x-gzip": [_Zlib],
    "deflate": [_Deflate],
    "br": [_brotli, _brotlicffi],
    "zstd": [
        _zstandard,
        lambda take: _ZstdFrames(take, "compression.zstd"),
        lambda take: _ZstdFrames(take, "backports.zstd"),
    ],
}
