"""What a price pays for: images, pixels, tiles, steps and input images, counted."""

from __future__ import annotations

from pixelmeter.core.tariff import Call, Reason

_STARTED_MEGAPIXEL = 1024 * 1024
_TILE = 512


def quantity_of(unit: str, images: int, input_images: int, call: Call) -> int | Reason:
    """Return how many of a unit (a key of UNITS but for tokens) a call is billed for, or what keeps that unknown."""
    match unit:
        case "usd_per_image" | "usd_per_first_megapixel":
            return images
        case "usd_per_request":
            return 1
        case "usd_per_input_image":
            return input_images
        case "usd_per_further_input_image":
            return max(input_images - 1, 0)
        case "usd_per_input_megapixel" | "usd_per_input_tile_512" | "usd_per_input_tile_512_step":
            return "unknown_input_size" if input_images else 0
        case "usd_per_step":
            return "unknown_steps" if call.steps is None else images * call.steps
        case _ if call.sides is None:
            return "unknown_size"
        case "usd_per_tile_512_step":
            return "unknown_steps" if call.steps is None else images * _by_area(unit, *call.sides) * call.steps
        case _:
            return images * _by_area(unit, *call.sides)


def _by_area(unit: str, width: int, height: int) -> int:
    match unit:
        case "usd_per_megapixel":
            return width * height
        case "usd_per_started_megapixel":
            return -(-width * height // _STARTED_MEGAPIXEL)
        case "usd_per_extra_megapixel":
            return -(-width * height // _STARTED_MEGAPIXEL) - 1
        case _:
            return -(-width // _TILE) * -(-height // _TILE)
