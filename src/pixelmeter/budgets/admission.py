"""Lets calls go or refuses them: from memory where a lease is in hand, else after the writer has asked the ledger."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import NamedTuple

from pixelmeter.budgets.leasing import SECOND, Leasing
from pixelmeter.budgets.spender import Ask, Spender
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.core.budgets.budget import Budget, Refusal, Rule, counted, usd_of
from pixelmeter.core.budgets.lease import Charge, Lease, LeaseKey
from pixelmeter.core.budgets.sums import Usage, tags_of
from pixelmeter.core.memo import Memo
from pixelmeter.core.ports import Clock
from pixelmeter.core.reporting.periods import moment_of
from pixelmeter.errors import BudgetExceeded, BudgetReason

__all__ = ["WAIT_SECONDS", "Admission", "Reservation"]

WAIT_SECONDS = 0.25
"""How long a call waits for a lease at most."""

_REMEMBERED = 1024


class Reservation(NamedTuple):
    """What a call under way may cost at most, and of which leases that was taken."""

    amount: int
    alike: tuple[str | None, ...]
    spenders: Sequence[Spender]
    leases: Sequence[Lease]
    charges: dict[str, Sequence[tuple[Lease, Charge]]]
    """Where what it is charged goes: of this process, not of one that was forked meanwhile."""


class Admission:
    """Which calls may go. For any thread; `settle` and `release` also for signal handlers and finalizers: no lock."""

    def __init__(self, budgets: Sequence[Budget], leasing: Leasing, clock: Clock) -> None:
        self._refusals: dict[str, Refusal | None] = {budget.name: budget.refuse for budget in budgets}
        self._leasing = leasing
        self._clock = clock
        leasing.rules_changed = self.forget
        self.forget()

    def forget(self) -> None:
        """Begin anew, as a forked child must, and where the ledger has other budgets than were known."""
        self._blocking: Sequence[Rule] = [rule for rule in self._leasing.rules.values() if rule.action == "block"]
        self.blocks = bool(self._blocking)
        """Whether any budget refuses calls."""
        self._alike: Memo[tuple[str | None, ...], Sequence[Spender]] = Memo(_REMEMBERED)

    def refusal_of(self, budget: str) -> Refusal | None:
        """Return how a budget wants calls refused; None where it does not say."""
        return self._refusals[budget]

    def admit(self, intent: Attempt) -> Generator[Ask, None, Reservation | None]:
        """Reserve what a call may cost; None where no budget has it.

        Yields what is to be waited for, WAIT_SECONDS at most for all of it. Raises BudgetExceeded.
        """
        if not self._blocking or intent.byok:
            return None
        alike = _alike(intent)
        spenders = self._alike.get(alike)
        if spenders is None:
            spenders = self._alike.keep(alike, self._spenders(intent))
        if not spenders or intent.at_risk == 0:
            return None
        # Of a call whose price is not known only that is asked: whether there is anything left at all.
        need = 1 if intent.at_risk is None else intent.at_risk
        now = intent.started_at
        reservation = Reservation(need, alike, spenders, taken := [], self._leasing.charges)
        asks: list[Ask] = []
        try:
            for spender in spenders:
                lease = spender.lease
                if intent.at_risk is None and spender.rule.unpriced == "block":
                    raise _exceeded(spender, "unpriced", now, None)
                if lease is not None and lease.start <= now < lease.until and lease.take(need):
                    lease.used_at = now
                    taken.append(lease)
                else:
                    asks.append(self._ask(spender, need, now))
            if asks:
                yield from self._wait(asks, taken)
        except BaseException:
            self.release(reservation)
            raise
        return reservation

    def end(
        self,
        reservation: Reservation,
        note: Callable[[str, Exception], None],
        receiver: Callable[[Attempt], None],
        attempt: Attempt,
    ) -> None:
        """Settle what was reserved for an attempt that has ended, before its row can be written."""
        try:
            self.settle(reservation, attempt)
        except Exception as error:
            note("budgets", error)
        receiver(attempt)

    def settle(self, reservation: Reservation, attempt: Attempt) -> None:
        """Give back what an attempt that has ended did not cost, and keep in mind what it is charged."""
        amount = counted(attempt)
        charges: list[tuple[Lease, Charge]] = []
        is_same = _alike(attempt) == reservation.alike
        for lease in reservation.leases:
            # An answer may tell that the attempt is another budget's.
            charge = amount if is_same or self._has(lease.key, attempt) else 0
            within = min(charge, reservation.amount)
            lease.give(reservation.amount - within)
            if charge:
                charges.append((lease, Charge(lease.key, within, charge - within)))
        if charges:
            reservation.charges[attempt.id] = charges

    def release(self, reservation: Reservation) -> None:
        """Give back what was reserved for a call that is not made."""
        for lease in reservation.leases:
            lease.give(reservation.amount)

    def _spenders(self, intent: Attempt) -> Sequence[Spender]:
        found: list[Spender] = []
        for rule in self._blocking:
            value = rule.value_of(intent, tags_of(intent.tags))
            if value is not None:
                found.append(self._leasing.spender(rule, value))
        return found

    def _has(self, key: LeaseKey, attempt: Attempt) -> bool:
        rule = self._leasing.rules.get(key.budget)
        return rule is not None and rule.value_of(attempt, tags_of(attempt.tags)) == key.value

    def _ask(self, spender: Spender, need: int, now: int) -> Ask:
        """Return what is to be asked for; BudgetExceeded where the ledger has just said that there is not so much."""
        lease = spender.lease
        if lease is not None and lease.usage is not None and lease.full_at is not None:
            is_present = lease.start == spender.rule.span_of(now).start
            if is_present and self._clock.monotonic() - lease.full_at < SECOND and need > lease.usage.room:
                raise _exceeded(spender, "limit", now, need, lease.usage)
        return Ask(spender, need, now)

    def _wait(self, asks: Sequence[Ask], taken: list[Lease]) -> Generator[Ask, None, None]:
        """Add the leases to `taken` that were reserved from; BudgetExceeded where the call may not go."""
        begun = self._clock.monotonic()
        is_asked = begun >= self._leasing.unavailable_until
        if is_asked:
            self._leasing.ask(asks)
        try:
            for ask in asks if is_asked else ():
                # One after the other, but all of them together no longer than one.
                ask.patience = max(WAIT_SECONDS - (self._clock.monotonic() - begun) / SECOND, 0)
                if not ask.over.is_set():
                    yield ask
        finally:
            # Also where whoever waited was cancelled.
            answers = [ask.give_up() for ask in asks]
            taken.extend(answer.lease for answer in answers if answer is not None and answer.lease is not None)
        if is_asked and None in answers:
            self._leasing.unanswered(begun)
        for ask, answer in zip(asks, answers, strict=True):
            if answer is not None and answer.usage is not None:
                raise _exceeded(ask.spender, "limit", ask.at, ask.need, answer.usage)
        for ask, answer in zip(asks, answers, strict=True):
            if (answer is None or answer.lease is None) and ask.spender.rule.on_unavailable == "block":
                raise _exceeded(ask.spender, "unavailable", ask.at, ask.need)


def _alike(attempt: Attempt) -> tuple[str | None, ...]:
    """Return what decides which budgets have an attempt."""
    return (attempt.gateway, attempt.operation, attempt.requested_model or attempt.model, attempt.tags)


def _exceeded(
    spender: Spender, reason: BudgetReason, now: int, need: int | None, usage: Usage | None = None
) -> BudgetExceeded:
    rule = spender.rule
    end = rule.span_of(now).end
    return BudgetExceeded(
        budget=rule.name,
        value=spender.value,
        reason=reason,
        limit=usd_of(rule.limit if usage is None else usage.limit),
        spent=None if usage is None else usd_of(usage.spent),
        reserved=None if usage is None else usd_of(max(usage.reserved, 0)),
        needed=None if need is None else usd_of(need),
        resets_at=None if end is None else moment_of(end),
    )
