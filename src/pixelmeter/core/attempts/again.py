"""What an attempt asked for, as far as its record keeps it: what is needed to price it again."""

from __future__ import annotations

from pixelmeter.core.apis.reader import ImageRequest
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.core.gateways.profile import Profile

__all__ = ["asked_by", "vendors_behind"]


def asked_by(attempt: Attempt) -> ImageRequest:
    """Return the request of an attempt; its steps and its partial images are not kept."""
    return ImageRequest(
        model=attempt.requested_model,
        images=attempt.requested_images,
        size=attempt.size or attempt.requested_size,
        quality=attempt.quality or attempt.requested_quality,
        output_format=attempt.output_format,
        input_images=attempt.input_images,
        service_tier=attempt.service_tier,
        byok=attempt.byok,
        unread=attempt.cost_reason == "unread_request",
    )


def vendors_behind(profile: Profile) -> tuple[str, ...]:
    """Return whose prices hold behind a gateway, by whichever of its routes."""
    return tuple(
        dict.fromkeys((*profile.pass_through, *(name for route in profile.route for name in route.pass_through)))
    )
