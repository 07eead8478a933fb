from __future__ import annotations

import pytest

from pixelmeter.core.reporting.pixels import delivered_pixels


@pytest.mark.parametrize(
    ("images", "size", "pixels"),
    [(1, "1024x1536", 1_572_864), (4, "31x7", 868), (0, "31x7", 0), (1, "99999x99999", 9_999_800_001)],
)
def test_pixels_are_those_of_all_images(images: int, size: str, pixels: int) -> None:
    assert pixels == delivered_pixels(images, size)


@pytest.mark.parametrize("size", [None, "auto", "mixed", "1K", "x7", "7x", "07x7", "100000x1", "7x7\n", "٧x7", "-7x7"])
def test_pixels_of_another_size_are_unknown(size: str | None) -> None:
    assert delivered_pixels(1, size) is None


@pytest.mark.parametrize("images", [None, -1, 1_000_001])
def test_pixels_of_a_number_that_nobody_ordered_are_unknown(images: int | None) -> None:
    assert delivered_pixels(images, "31x7") is None
