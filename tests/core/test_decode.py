"""Our copy of a compressed body."""

from __future__ import annotations

import gzip
import zlib

import brotli
import pytest
import zstandard

from pixelmeter.core.decode import Undecodable, decoder

_BODY = b'{"data":[{"b64_json":"' + b"QUJD" * 50_000 + b'"}]}'


def _raw_deflate(body: bytes) -> bytes:
    codec = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return codec.compress(body) + codec.flush()


@pytest.mark.parametrize(
    ("encoding", "encoded"),
    [
        ("gzip", gzip.compress(_BODY)),
        ("X-GZIP", gzip.compress(_BODY)),
        ("deflate", zlib.compress(_BODY)),
        ("deflate", _raw_deflate(_BODY)),
        ("br", brotli.compress(_BODY)),
        ("zstd", zstandard.compress(_BODY)),
        ("identity, gzip", gzip.compress(_BODY)),
    ],
)
@pytest.mark.parametrize("size", [1, 7, 4096, 10_000_000])
def test_every_encoding_of_httpx_is_read_in_chunks(encoding: str, encoded: bytes, size: int) -> None:
    decode = decoder(encoding)
    assert decode is not None
    pieces = [piece for at in range(0, len(encoded), size) for piece in decode(encoded[at : at + size])]
    assert _BODY == b"".join(pieces)


@pytest.mark.parametrize("encoding", ["", "identity"])
def test_a_plain_body_needs_no_decoder(encoding: str) -> None:
    assert decoder(encoding) is None


@pytest.mark.parametrize("encoding", ["compress", "gzip, br", "x" * 5000])
def test_an_unknown_encoding_says_so(encoding: str) -> None:
    with pytest.raises(Undecodable):
        decoder(encoding)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
def test_broken_data_says_so(encoding: str) -> None:
    decode = decoder(encoding)
    assert decode is not None
    with pytest.raises(Undecodable):
        for _ in range(64):
            list(decode(b"this was never compressed, whatever the header says it is........"[:64]))


def test_a_bomb_is_given_up_in_bounded_slices() -> None:
    codec = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    # A fully flushed block stands for itself, so it can be sent again and again: 64 MB of zeros each time.
    block = codec.compress(bytes(64 * 1024 * 1024)) + codec.flush(zlib.Z_FULL_FLUSH)
    decode = decoder("deflate")
    assert decode is not None
    largest = blocks = 0
    with pytest.raises(Undecodable):
        while blocks < 20:
            for piece in decode(block):
                largest = max(largest, len(piece))
            blocks += 1
    assert 65_536 == largest
    assert 8 == blocks
