"""What a gateway says of its own choice of a model: with what it compares, what it takes for it, what it saved."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from pixelmeter.core.gateways.amounts import AmountReader
from pixelmeter.core.gateways.profile import Profile
from pixelmeter.core.wire.headers import Headers, first

__all__ = ["Routed", "routed_by"]


class Routed(NamedTuple):
    """A choice of a model as the gateway describes it; money in nano-dollars, None where it does not say it."""

    baseline_model: str | None = None
    baseline_cost: int | None = None
    route_fee: int | None = None
    savings: int | None = None
    """Negative where the choice was more expensive."""


_NOTHING = Routed()


def routed_by(profile: Profile, headers: Headers, body: Mapping[str, Any]) -> Routed:
    """Return what a response says of the choice; an amount that is not sane is None."""
    routing = profile.routing
    if routing is None:
        return _NOTHING
    return Routed(
        first(headers, routing.baseline_model),
        _amount(routing.baseline_cost, headers, body),
        _amount(routing.route_fee, headers, body),
        _amount(routing.savings, headers, body, may_be_negative=True),
    )


def _amount(
    reader: AmountReader | None, headers: Headers, body: Mapping[str, Any], *, may_be_negative: bool = False
) -> int | None:
    if reader is None or not reader.holds(body):
        return None
    texts = reader.texts(headers, body)
    if not texts:
        return None
    sign = 1
    if may_be_negative and len(texts) == 1 and texts[0].lstrip().startswith("-"):
        sign, texts = -1, (texts[0].lstrip()[1:],)
    nano = reader.nano(texts)
    # The same rule as for a cost: pages print 0 for what they do not know.
    return None if nano is None or (nano == 0 and not reader.zero_is_real) else sign * nano
