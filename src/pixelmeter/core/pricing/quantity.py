"""How many of a unit a call is billed for: images, pixels, tiles, steps, requests."""

from __future__ import annotations

from typing import Literal, assert_never

from pixelmeter.core.pricing.tariff import ImageUnit, PriceQuery, Reason

__all__ = ["quantity_of"]

_STARTED_MEGAPIXEL = 1024 * 1024
_TILE = 512

_AreaUnit = Literal[
    "usd_per_megapixel",
    "usd_per_started_megapixel",
    "usd_per_extra_megapixel",
    "usd_per_tile_512",
    "usd_per_tile_512_step",
]


def quantity_of(unit: ImageUnit, images: int, input_images: int | None, query: PriceQuery) -> int | Reason:
    """Return how many of a unit a call is billed for, or what keeps that unknown.

    `input_images` is None where nobody has read how many the call has.
    """
    match unit:
        case "usd_per_image" | "usd_per_first_megapixel":
            return images
        case "usd_per_request":
            return 1
        case "usd_per_input_image":
            return "unread_request" if input_images is None else input_images
        case "usd_per_further_input_image":
            return "unread_request" if input_images is None else max(input_images - 1, 0)
        case "usd_per_input_megapixel" | "usd_per_input_tile_512" | "usd_per_input_tile_512_step":
            return "unread_request" if input_images is None else "unknown_input_size" if input_images else 0
        case "usd_per_step":
            return "unknown_steps" if query.steps is None else images * query.steps
        case (
            "usd_per_megapixel"
            | "usd_per_started_megapixel"
            | "usd_per_extra_megapixel"
            | "usd_per_tile_512"
            | "usd_per_tile_512_step"
        ):
            return "unknown_size" if query.sides is None else _by_area(unit, images, *query.sides, query.steps)
        case _:
            assert_never(unit)


def _by_area(unit: _AreaUnit, images: int, width: int, height: int, steps: int | None) -> int | Reason:
    match unit:
        case "usd_per_megapixel":
            return images * width * height
        case "usd_per_started_megapixel":
            return images * _megapixels(width, height)
        case "usd_per_extra_megapixel":
            return images * (_megapixels(width, height) - 1)
        case "usd_per_tile_512":
            return images * _tiles(width, height)
        case "usd_per_tile_512_step":
            return "unknown_steps" if steps is None else images * _tiles(width, height) * steps
        case _:
            assert_never(unit)


def _megapixels(width: int, height: int) -> int:
    return -(-width * height // _STARTED_MEGAPIXEL)


def _tiles(width: int, height: int) -> int:
    return -(-width // _TILE) * -(-height // _TILE)
