from __future__ import annotations

import base64
import struct
import zlib

import pytest

from pixelmeter.testing.bodies import picture, picture_text


def decode(png: bytes) -> tuple[int, int, bytes]:
    """Return width, height and pixel rows, having checked every checksum on the way."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    position, size, pixels = 8, (0, 0), b""
    while position < len(png):
        (length,) = struct.unpack_from(">I", png, position)
        kind, data = png[position + 4 : position + 8], png[position + 8 : position + 8 + length]
        assert struct.pack(">I", zlib.crc32(kind + data)) == png[position + 8 + length : position + 12 + length]
        if kind == b"IHDR":
            size = struct.unpack_from(">II", data)
        pixels += data if kind == b"IDAT" else b""
        position += 12 + length
    assert b"IEND" == png[-8:-4]
    return *size, zlib.decompress(pixels)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1024, 1536), (3, 4096)])
def test_a_picture_has_the_pixels_it_says(width: int, height: int) -> None:
    assert (width, height) == decode(picture(width, height))[:2]
    assert height * (1 + 3 * width) == len(decode(picture(width, height))[2])


@pytest.mark.parametrize("weight", [0, 1, 440, 65_536, 131_072 + 4, 1_000_000])
def test_a_picture_of_any_weight_decodes_to_the_same_pixels(weight: int) -> None:
    text = b"".join(part * repeats for part, repeats in picture_text(16, 16, 0, weight))
    assert decode(picture(16, 16)) == decode(base64.b64decode(text, validate=True))
    assert len(text) >= weight


def test_a_heavy_picture_has_exactly_the_weight_asked_for() -> None:
    assert 64_000_000 == sum(len(part) * repeats for part, repeats in picture_text(16, 16, 0, 64_000_000))
    assert sum(len(part) for part, _ in picture_text(16, 16, 0, 64_000_000)) < 200_000
