"""How many pixels an answer delivered, where that is known."""

from __future__ import annotations

import re
from functools import lru_cache

MOST_IMAGES = 1_000_000
"""What claims to be more images than this counts as unknown, so that pixels fit into 64 bits."""

_SIZE = re.compile(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})")


def delivered_pixels(images: int | None, size: str | None) -> int | None:
    """Return the pixels of so many images of a size such as "1024x1536"; None where either is unknown."""
    if images is None or size is None or not 0 <= images <= MOST_IMAGES:
        return None
    each = _pixels(size)
    return None if each is None else images * each


@lru_cache(maxsize=1024)
def _pixels(size: str) -> int | None:
    sides = _SIZE.fullmatch(size)
    return None if sides is None else int(sides[1]) * int(sides[2])
