"""What a user can do about attempts without a price."""

from __future__ import annotations

from collections.abc import Iterable

from pixelmeter.core.pricing.book import Consumption, PriceBook
from pixelmeter.core.reporting.columns import gateway_hint
from pixelmeter.errors import PixelmeterError
from pixelmeter.gateways import load_profiles
from pixelmeter.prices import book_of
from pixelmeter.settings import from_environment
from pixelmeter.system import SystemClock

__all__ = ["gateway_hints"]


def gateway_hints(unpriced: Iterable[tuple[str, str]]) -> list[str]:
    """Return a sentence for each host that may be a known gateway by another name, as its models are priced there.

    `unpriced` is gateway and model of attempts without a price. Where settings, profiles or prices cannot be read,
    there is nothing to say.
    """
    settings = from_environment()
    try:
        profiles = load_profiles(settings.gateways, settings.profiles)
        book = book_of(settings.prices)
        now = SystemClock().now()
        hosts: dict[str, dict[str, list[str]]] = {}
        for host, model in unpriced:
            if host in profiles.ids or not profiles.of_host(host).generic:
                continue
            pricing = [
                profile.id
                for profile in profiles.profiles
                if not profile.generic and _has_price(book, profile.id, profile.pass_through, model, now)
            ]
            if pricing:
                hosts.setdefault(host, {})[model] = pricing
    except PixelmeterError:
        return []
    return [gateway_hint(host, models) for host, models in hosts.items()]


def _has_price(book: PriceBook, gateway: str, vendors: tuple[str, ...], model: str, now: int) -> bool:
    return book.quote(Consumption(), gateway=gateway, model=model, at=now, vendors=vendors).reason != "no_price"
