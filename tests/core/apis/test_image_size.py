"""Dimensions from the head of an image."""

from __future__ import annotations

import base64
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixelmeter.core.apis.image_size import size_of

_PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"


def _head(image: bytes) -> str:
    return base64.b64encode(image + bytes(64)).decode()[:64]


@pytest.mark.parametrize(
    ("image", "size"),
    [
        (_PNG + struct.pack(">II", 1536, 1024), "1536x1024"),
        (b"GIF89a" + struct.pack("<HH", 640, 480), "640x480"),
        (b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + b"\xff\x03\0\xff\x05\0", "1024x1536"),
        (b"RIFF\0\0\0\0WEBPVP8L\0\0\0\0\x2f" + ((1023) | (511 << 14)).to_bytes(4, "little"), "1024x512"),
        (b"RIFF\0\0\0\0WEBPVP8 \0\0\0\0\0\0\0\x9d\x01\x2a" + struct.pack("<HH", 800, 600), "800x600"),
        (b"\xff\xd8\xff\xe0 JPEG", None),
        (_PNG + struct.pack(">II", 0, 1024), None),
        (_PNG + struct.pack(">II", 100_000, 1), "100000x1"),
        (_PNG + struct.pack(">II", 1, 100_000), "1x100000"),
        (_PNG + struct.pack(">II", 100_001, 1), None),
        (_PNG + struct.pack(">II", 1, 100_001), None),
        (b"", None),
    ],
)
def test_png_gif_and_webp_tell_their_size(image: bytes, size: str | None) -> None:
    assert size == size_of(_head(image))


@given(st.text(max_size=80))
def test_no_text_raises(text: str) -> None:
    size_of(text)


@given(st.binary(max_size=60), st.sampled_from([_PNG, b"GIF89a", b"RIFF\0\0\0\0WEBPVP8 "]))
def test_no_image_raises(rest: bytes, magic: bytes) -> None:
    size_of(base64.b64encode(magic + rest).decode())
