"""The image calls of a test run: whose they are, which of them may leave, and what they come to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict, cast

import pytest

from pixelmeter.testing.image_calls import ImageCalls

if TYPE_CHECKING:
    from pixelmeter.core.attempts.record import Attempt
    from pixelmeter.outgoing import Outgoing
    from pixelmeter.testing.run_budget import RunBudget

__all__ = ["ImageRun", "OneTest", "Sums", "nano_of", "usd"]


class Sums(TypedDict):
    """What the image calls of a test come to, as plain values that pass between processes; money in nano-dollars."""

    test: str
    attempts: int
    calls: int
    images: int
    cost: int
    at_risk: int
    unknown: int
    replayed: int
    refused: int


class OneTest:
    """A test with its image calls, or all that were made outside of tests."""

    def __init__(self, name: str, *, max_cost: int | None = None, block_live: bool = False) -> None:
        self.name = name
        self.max_cost = max_cost
        """What it may cost in nano-dollars; None for any amount."""
        self.block_live = block_live
        self.attempts: list[Attempt] = []
        self.replayed = set[str]()
        self.calls = ImageCalls(self.attempts, self.replayed)
        self.refused: list[str] = []
        """Why calls were not sent."""
        self.is_reported = False
        """Whether its sums have been given away: what ends later is none of them."""
        self._told = 0

    def used(self) -> int:
        """Return what paid attempts have cost, and may have cost, in nano-dollars."""
        return sum(_used(attempt) for attempt in self._paid())

    def problem(self) -> str | None:
        """Return what is wrong with its calls and has not been told yet."""
        problems = list(dict.fromkeys(self.refused[self._told :]))
        self._told = len(self.refused)
        if self.max_cost is not None and self.used() > self.max_cost:
            problems.append(self._too_expensive(self.max_cost))
            # Once is enough.
            self.max_cost = None
        return "\n".join(problems) or None

    def sums(self) -> Sums:
        """Return what its calls come to; what a mock or a cassette answered is only counted."""
        paid = self._paid()
        return Sums(
            test=self.name,
            attempts=len(paid),
            calls=len({attempt.call_id for attempt in paid}),
            images=sum(attempt.images or 0 for attempt in paid),
            cost=sum(attempt.cost or 0 for attempt in paid),
            at_risk=sum(attempt.at_risk or 0 for attempt in paid),
            unknown=sum(attempt.cost is None for attempt in paid),
            replayed=len(self.attempts) - len(paid),
            refused=len(self.refused),
        )

    def _paid(self) -> list[Attempt]:
        return [attempt for attempt in [*self.attempts] if attempt.id not in self.replayed]

    def _too_expensive(self, limit: int) -> str:
        sums = self.sums()
        risk = f", {usd(sums['at_risk'])} at risk besides" if sums["at_risk"] else ""
        return f"the image calls of this test cost {usd(sums['cost'])}{risk}: pixelmeter_max_cost is {usd(limit)}"


class _Begun(NamedTuple):
    test: OneTest
    intent: Attempt
    reserved: int | None
    """Nano-dollars of the budget; None where it has none of them."""


class ImageRun:
    """Takes the attempts of every meter of this process while the run lasts, so that no ledger gets any."""

    def __init__(self) -> None:
        self.budget: RunBudget | None = None
        self.outside = OneTest("outside of tests")
        self.test = self.outside
        """What runs just now."""
        self.all: list[Sums] = []
        """What tests came to, in all processes."""
        self._begun: dict[str, _Begun] = {}
        self._is_over = False

    def admit(self, intent: Attempt, outgoing: Outgoing) -> None:
        """Let an attempt leave, or fail the test that makes it."""
        test = self.test
        to = f"{outgoing.host} ({intent.model})" if intent.model else outgoing.host
        try:
            reserved = self._admit(test, intent, outgoing, to)
        except Exception as error:
            # Rather than let it go: it would be paid.
            reason = f"it cannot be told whether an image call to {to} may leave ({type(error).__name__})"
            raise self._refusal(test, f"pixelmeter: {reason}; it was not sent") from error
        self._begun[intent.id] = _Begun(test, intent, reserved)

    def _admit(self, test: OneTest, intent: Attempt, outgoing: Outgoing, to: str) -> int | None:
        """Return what was reserved for an attempt that may leave."""
        # With the first image call: a run without one needs none of it.
        from pixelmeter.testing.replays import is_replayed, is_this_machine

        if is_replayed(outgoing):
            test.replayed.add(intent.id)
            return None
        if test.block_live and not is_this_machine(outgoing.host):
            raise self._refusal(
                test, f"pixelmeter_block_live: an image call to {to} was about to leave this machine; it was not sent"
            )
        if test.max_cost is not None and (used := test.used()) > test.max_cost:
            raise self._refusal(
                test,
                f"pixelmeter_max_cost: the image calls of this test may cost {usd(test.max_cost)} and have used "
                f"{usd(used)}; the next one, to {to}, was not sent",
            )
        budget, amount = self.budget, intent.at_risk or 0
        if budget is None or budget.reserve(amount):
            return amount
        cost = f", and this one may cost {usd(amount)}" if amount else ""
        raise self._refusal(
            test,
            f"--image-budget: the image calls of this run may cost {usd(budget.limit)}, {usd(budget.used())} are used "
            f"up{cost}; an image call to {to} was not sent",
        )

    def take(self, attempt: Attempt) -> None:
        """Take an attempt that has ended, for the test that began it."""
        begun = self._begun.pop(attempt.id, None)
        if begun is None and self._is_over:
            return
        test = self.test if begun is None else begun.test
        if begun is not None and begun.reserved is not None and self.budget is not None:
            with suppress(OSError):
                self.budget.settle(begun.reserved, _used(attempt))
        if test.is_reported:
            if attempt.id in test.replayed:
                self.outside.replayed.add(attempt.id)
            test = self.outside
        test.attempts.append(attempt)

    def finish(self) -> Sums:
        """End the run; return what was made outside of tests, with attempts that have not ended, as at risk."""
        for begun in [*self._begun.values()]:
            self.take(begun.intent)
        self._is_over = True
        return self.outside.sums()

    def _refusal(self, test: OneTest, message: str) -> BaseException:
        test.refused.append(message)
        # No Exception, so that neither an SDK nor the program takes it for a broken connection and tries again.
        return pytest.fail.Exception(message, pytrace=False)


def lines(all_sums: Iterable[Sums], budget: RunBudget | None, top: int) -> list[str]:
    """Return what the summary of a run says; nothing where there was no image call."""
    every = [cast("Mapping[str, Any]", sums) for sums in all_sums]
    total = {key: sum(sums[key] for sums in every) for key in _COUNTS}
    if not any(total.values()):
        return []
    said = [_total(total)]
    if total["replayed"]:
        said.append(f"{_many(total['replayed'], 'request')} answered by mocks or cassettes, not counted")
    if budget is not None:
        with suppress(OSError):
            said.append(f"budget {usd(budget.limit)}, used up {usd(budget.used())}")
    if total["refused"]:
        tests = sum(sums["refused"] > 0 for sums in every)
        said.append(f"{_many(total['refused'], 'call')} of {_many(tests, 'test')} not sent")
    expensive = sorted((sums for sums in every if _weight(sums)), key=_weight, reverse=True)[:top]
    if expensive:
        said += ["most expensive:", *(f"  {_amount(sums):<24} {sums['test']}" for sums in expensive)]
    return said


_COUNTS = ("attempts", "calls", "images", "cost", "at_risk", "unknown", "replayed", "refused")


def _total(total: Mapping[str, int]) -> str:
    attempts = f" ({total['attempts']} attempts)" if total["attempts"] != total["calls"] else ""
    said = f"{_many(total['calls'], 'call')}{attempts}, {_many(total['images'], 'image')}, {_amount(total)}"
    return f"{said}, {total['unknown']} of unknown cost" if total["unknown"] else said


def _amount(sums: Mapping[str, Any]) -> str:
    """Return what is known of a cost, and what is at risk besides. Unknown is not 0."""
    known = "unknown" if sums["unknown"] == sums["attempts"] > 0 else usd(sums["cost"])
    return f"{known} + {usd(sums['at_risk'])} at risk" if sums["at_risk"] else known


def _weight(sums: Mapping[str, Any]) -> int:
    weight: int = sums["cost"] + sums["at_risk"]
    return weight


def _used(attempt: Attempt) -> int:
    return (attempt.cost or 0) + (attempt.at_risk or 0)


def _many(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def nano_of(amount: object) -> int:
    """Return US dollars as nano-dollars. Raises ValueError for what is no amount."""
    from pixelmeter.core.attempts.record import NANO_PER_USD
    from pixelmeter.core.text import scaled

    text = str(amount).strip().removeprefix("$")
    nano = scaled(text, NANO_PER_USD)
    if nano is None or Decimal(text) * NANO_PER_USD != nano:
        raise ValueError(f"{str(amount)[:40]!r} is no amount of US dollars, such as 0.50")
    return nano


def usd(nano: int) -> str:
    """Return nano-dollars to read, exact, with two places at least: "$0.50"."""
    from pixelmeter.core.text import exact_usd

    whole, _, fraction = exact_usd(nano).partition(".")
    return f"${whole}.{fraction:0<2}"
