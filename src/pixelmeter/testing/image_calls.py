"""The image calls of a test, as its assertions ask for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, overload

if TYPE_CHECKING:
    from pixelmeter.core.attempts.record import Attempt

__all__ = ["ImageCalls"]


class ImageCalls(Sequence["Attempt"]):
    """The attempts of a test so far, oldest first, and their sums. An attempt is one HTTP request that asks for images.

        def test_a_banner_costs_at_most_four_cents(image_calls):
            make_banner()
            assert image_calls.images == 1
            assert image_calls.unknown == 0
            assert image_calls.cost <= Decimal("0.04")

    What a mock or a cassette answered is among them, with what it would have cost; `paid` is without that. Amounts are
    exact US dollars.
    """

    def __init__(self, attempts: list[Attempt] | None = None, replayed: set[str] | None = None) -> None:
        self._attempts = [] if attempts is None else attempts
        self._replayed = set[str]() if replayed is None else replayed

    @property
    def cost(self) -> Decimal | None:
        """What is known of the cost; 0 without attempts, None where nothing is known of any."""
        known = [attempt.cost for attempt in self._attempts if attempt.cost is not None]
        return _usd(sum(known)) if known or not self._attempts else None

    @property
    def at_risk(self) -> Decimal:
        """What attempts may have cost besides, estimated, whose billing is unknown or still to come."""
        return _usd(sum(attempt.at_risk or 0 for attempt in self._attempts))

    @property
    def unknown(self) -> int:
        """How many attempts have a cost that is not known."""
        return sum(attempt.cost is None for attempt in self._attempts)

    @property
    def calls(self) -> int:
        """How many calls the attempts were made for: those of an SDK's retries are one."""
        return len({attempt.call_id for attempt in self._attempts})

    @property
    def images(self) -> int:
        """How many images were delivered."""
        return sum(attempt.images or 0 for attempt in self._attempts)

    @property
    def models(self) -> set[str]:
        """The models that ran, as far as they are known."""
        return {attempt.model for attempt in self._attempts if attempt.model}

    @property
    def outcomes(self) -> list[str]:
        """How each attempt ended: `success`, `error`, `throttled` …"""
        return [attempt.outcome for attempt in self._attempts]

    @property
    def paid(self) -> ImageCalls:
        """The attempts so far that no mock and no cassette answered, as far as that can be told."""
        return ImageCalls([attempt for attempt in self._attempts if attempt.id not in self._replayed])

    @property
    def replayed(self) -> int:
        """How many attempts a mock or a cassette answered."""
        return sum(attempt.id in self._replayed for attempt in self._attempts)

    @overload
    def __getitem__(self, index: int) -> Attempt: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Attempt]: ...
    def __getitem__(self, index: int | slice) -> Attempt | Sequence[Attempt]:
        return self._attempts[index]

    def __len__(self) -> int:
        return len(self._attempts)

    def __iter__(self) -> Iterator[Attempt]:
        return iter(self._attempts)

    def __repr__(self) -> str:
        cost = "unknown" if self.cost is None else f"${self.cost:f}"
        return (
            f"<ImageCalls: {len(self)} attempts, {self.images} images, cost {cost}, at risk ${self.at_risk:f}, "
            f"{self.unknown} of unknown cost, {self.replayed} replayed>"
        )


def _usd(nano: int) -> Decimal:
    return Decimal(nano).scaleb(-9)
