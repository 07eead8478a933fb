"""Our copy of a compressed body."""

from __future__ import annotations

import gzip
import importlib
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import brotli
import pytest
import zstandard

from pixelmeter.core.wire.decode import BrokenBody, NotDecoded, decoder

_BODY = b'{"data":[{"b64_json":"' + b"QUJD" * 50_000 + b'"}]}'
_MB = 1024 * 1024
_STANDARD_ZSTD = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
_PACKAGES = ("brotli", "brotlicffi", "zstandard", "compression.zstd", "backports.zstd")


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch) -> Callable[[str | None], None]:
    """Hide every package that decodes but the named one."""

    def hide(package: str | None) -> None:
        for name in _PACKAGES:
            if name != package:
                monkeypatch.setitem(sys.modules, name, None)

    return hide


def _named(value: object) -> str:
    """Return a name for a test's parameter; a gzip body has the time in it, so it names nothing."""
    return "body" if isinstance(value, bytes) else str(value)


def _raw_deflate(body: bytes) -> bytes:
    codec = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return codec.compress(body) + codec.flush()


def _decoded(encoding: str, chunks: Iterator[bytes] | Sequence[bytes]) -> bytes:
    pieces: list[bytes] = []
    decode = decoder(encoding, pieces.append)
    assert decode is not None
    for chunk in chunks:
        decode(chunk)
    return b"".join(pieces)


def _split(body: bytes, size: int) -> Iterator[bytes]:
    return (body[at : at + size] for at in range(0, len(body), size))


@pytest.mark.parametrize(
    ("encoding", "package", "encoded"),
    [
        ("gzip", None, gzip.compress(_BODY)),
        ("X-GZIP", None, gzip.compress(_BODY)),
        ("deflate", None, zlib.compress(_BODY)),
        ("deflate", None, _raw_deflate(_BODY)),
        ("br", "brotli", brotli.compress(_BODY)),
        ("BR", "brotlicffi", brotli.compress(_BODY)),
        ("zstd", "zstandard", zstandard.compress(_BODY)),
        ("zstd", _STANDARD_ZSTD, zstandard.compress(_BODY)),
        ("identity, gzip", None, gzip.compress(_BODY)),
        ("gzip,br", "brotli", brotli.compress(gzip.compress(_BODY))),
        ("deflate, gzip, deflate", None, zlib.compress(gzip.compress(zlib.compress(_BODY)))),
        ("aws-chunked, gzip", None, gzip.compress(_BODY)),
    ],
    ids=_named,
)
@pytest.mark.parametrize("size", [1, 7, 4096, 10_000_000])
def test_every_encoding_of_the_libraries_is_read_in_chunks_with_whatever_package_they_use(
    only: Callable[[str | None], None], encoding: str, package: str | None, encoded: bytes, size: int
) -> None:
    only(package)
    assert _BODY == _decoded(encoding, _split(encoded, size))


@pytest.mark.parametrize("first", [b"%", b")", b"g", b"k"])
def test_a_raw_deflate_whose_first_bytes_add_up_as_those_of_zlib_do_is_read(first: bytes) -> None:
    body = first + b'{"data":[]}'
    encoded = _raw_deflate(body)
    assert 0 == int.from_bytes(encoded[:2], "big") % 31
    assert body == _decoded("deflate", [encoded])


@pytest.mark.parametrize("package", ["zstandard", _STANDARD_ZSTD])
@pytest.mark.parametrize("size", [1, 9, 1000, 10_000_000])
def test_a_body_of_many_zstd_frames_is_read_whole(only: Callable[[str | None], None], package: str, size: int) -> None:
    only(package)
    frames = b"".join(zstandard.compress(part) for part in (_BODY, b"", b"more", _BODY, b"", b""))
    assert _BODY + b"more" + _BODY == _decoded("zstd", _split(frames, size))


@pytest.mark.parametrize("encoding", ["", "identity", "compress", "utf-8", "x" * 5000])
def test_a_body_needs_no_decoder_where_the_libraries_would_leave_it_as_it_is(encoding: str) -> None:
    assert decoder(encoding, lambda piece: None) is None


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, br"])
def test_an_encoding_without_a_package_for_it_is_not_decoded(only: Callable[[str | None], None], encoding: str) -> None:
    only(None)
    with pytest.raises(NotDecoded):
        decoder(encoding, lambda piece: None)


def test_a_brotli_too_old_to_be_bounded_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    class Old:
        def process(self, data: bytes) -> bytes:
            raise AssertionError("decoded without a bound")

        decompress = process

    for name in ("brotli", "brotlicffi"):
        monkeypatch.setattr(importlib.import_module(name), "Decompressor", Old)
    with pytest.raises(NotDecoded):
        decoder("br", lambda piece: None)


@pytest.mark.parametrize(
    ("encoding", "package"),
    [
        ("gzip", None), ("deflate", None), ("br", "brotli"), ("br", "brotlicffi"), ("zstd", "zstandard"),
        ("zstd", _STANDARD_ZSTD),
    ],
)  # fmt: skip
def test_broken_data_says_so(only: Callable[[str | None], None], encoding: str, package: str | None) -> None:
    only(package)
    decode = decoder(encoding, lambda piece: None)
    assert decode is not None
    with pytest.raises(BrokenBody):
        for _ in range(64):
            decode(b"this was never compressed, whatever the header says it is........"[:64])


def _zstd_bomb(megabytes: int) -> bytes:
    # Blocks that repeat one byte: four bytes for 128 kB each, with a window of 128 kB.
    block = ((131_072 << 3) | 2).to_bytes(3, "little") + b"A"
    last = ((131_072 << 3) | 3).to_bytes(3, "little") + b"A"
    return b"\x28\xb5\x2f\xfd\x00\x38" + block * (megabytes * 8 - 1) + last


def _brotli_bomb(megabytes: int) -> bytes:
    codec: Any = brotli.Compressor(quality=5, lgwin=24)
    return b"".join([*(codec.process(bytes(16 * _MB)) for _ in range(megabytes // 16)), codec.finish()])


def _zlib_bomb(megabytes: int) -> bytes:
    codec = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    return b"".join(codec.compress(bytes(_MB)) for _ in range(megabytes)) + codec.flush()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("encoding", "package", "made"),
    [
        ("gzip", None, lambda: _zlib_bomb(256)),
        ("gzip, gzip", None, lambda: gzip.compress(_zlib_bomb(256))),
        ("br", "brotli", lambda: _brotli_bomb(256)),
        ("br", "brotlicffi", lambda: _brotli_bomb(256)),
        ("zstd", "zstandard", lambda: _zstd_bomb(2048)),
        ("zstd", _STANDARD_ZSTD, lambda: _zstd_bomb(2048)),
    ],
    ids=["gzip", "gzip in gzip", "brotli", "brotlicffi", "zstandard", "zstd"],
)
def test_a_bomb_is_given_up_after_64_mb_in_bounded_pieces(
    only: Callable[[str | None], None], encoding: str, package: str | None, made: Callable[[], bytes]
) -> None:
    bomb = made()
    only(package)
    sizes: list[int] = []
    decode = decoder(encoding, lambda piece: sizes.append(len(piece)))
    assert decode is not None
    with pytest.raises(NotDecoded):
        for chunk in _split(bomb, 65_536):
            decode(chunk)
    assert 64 * _MB >= sum(sizes) > 63 * _MB
    # A codec may give nearly twice of what it is asked for.
    assert 2 * 65_536 >= max(sizes)


@pytest.mark.slow
def test_a_body_that_shrank_a_hundred_times_is_read_up_to_half_a_gigabyte() -> None:
    codec = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    # A fully flushed block stands for itself, so it can be sent again and again: a MB as it is, then 64 MB of zeros.
    stored = zlib.compressobj(level=0, wbits=-zlib.MAX_WBITS)
    block = stored.compress(bytes(_MB)) + stored.flush(zlib.Z_FULL_FLUSH)
    block += codec.compress(bytes(64 * _MB)) + codec.flush(zlib.Z_FULL_FLUSH)
    seen = 0

    def take(piece: bytes) -> None:
        nonlocal seen
        seen += len(piece)

    decode = decoder("deflate", take)
    assert decode is not None
    with pytest.raises(NotDecoded):
        for _ in range(20):
            decode(block)
    assert 512 * _MB >= seen > 511 * _MB


def test_a_zstd_window_that_no_browser_takes_is_not_decoded() -> None:
    parameters = zstandard.ZstdCompressionParameters(window_log=27)
    codec = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    frame = codec.compress(b"a" * 1000) + codec.flush()
    decode = decoder("zstd", lambda piece: None)
    assert decode is not None
    with pytest.raises(NotDecoded):
        decode(frame)


@pytest.mark.parametrize(
    ("encoding", "package", "body"),
    [
        ("gzip", None, gzip.compress(_BODY)), ("br", "brotli", brotli.compress(_BODY)),
        ("zstd", "zstandard", zstandard.compress(_BODY)), ("zstd", _STANDARD_ZSTD, zstandard.compress(_BODY)),
    ],
    ids=_named,
)  # fmt: skip
def test_an_error_of_whoever_takes_the_pieces_is_not_called_broken_data(
    only: Callable[[str | None], None], encoding: str, package: str | None, body: bytes
) -> None:
    only(package)

    def take(_: bytes) -> None:
        raise LookupError("ours")

    decode = decoder(encoding, take)
    assert decode is not None
    with pytest.raises(LookupError, match="ours"):
        decode(body)
