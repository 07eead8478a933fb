"""The writer's side of budgets: it draws leases for the calls that wait, keeps them in hand, and gives them back."""

from __future__ import annotations

import itertools
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from operator import attrgetter
from typing import NamedTuple

from pixelmeter.budgets.losses import Charged, Losses
from pixelmeter.budgets.notices import Notices
from pixelmeter.budgets.spender import NEVER, NO_ANSWER, Answer, Ask, Spender
from pixelmeter.core.budgets.budget import Budget, Rule
from pixelmeter.core.budgets.lease import Charge, Draw, Drawn, Lease, LeaseKey
from pixelmeter.core.budgets.sums import Counted
from pixelmeter.core.ports import Clock
from pixelmeter.errors import RowRefused
from pixelmeter.ledger.writer import BudgetWriter

__all__ = ["SECOND", "Leasing"]

SECOND = 1_000_000
"""In microseconds."""

_PART = 20
"""A lease is a twentieth of what is left of a budget, where that is more than what is needed."""
_PLENTY = 10
_IDLE = 10 * SECOND
"""A lease that no call takes from goes back after so long."""
_VALID = 1800 * SECOND
_RENEW = 300 * SECOND
_STALE = 2 * _VALID
_LOOK = 60 * SECOND
_REMEMBERED = 1000


class _Want(NamedTuple):
    """What a lease is to be enlarged by: all of `total`, where there is not so much at least `least`."""

    spender: Spender
    lease: Lease
    least: int
    total: int

    def draw(self) -> Draw:
        limit = self.spender.rule.limit
        room = limit if self.lease.usage is None else self.lease.usage.room
        extra = max(room // _PART, 0)
        return Draw(self.lease.key, limit, self.least, self.total, self.total + extra, self.total + extra * _PLENTY)


class Leasing:
    """What this process has of budgets. For the writer thread, but for `ask`, `spender` and `forget`."""

    def __init__(
        self,
        budgets: Sequence[Budget],
        *,
        clock: Clock,
        process: Callable[[], str],
        notices: Notices | None = None,
        unmark: Callable[[], Callable[[], object] | None] = lambda: None,
    ) -> None:
        """`process` returns what the names of this process's spool files begin with.

        `unmark` is what `Losses` needs.
        """
        self._budgets = {budget.name: budget for budget in budgets}
        self._clock = clock
        self._process = process
        self._unmark = unmark
        self._notices = notices
        self.urge: Callable[[], object] = lambda: None
        """Has the writer serve at once."""
        self.rules_changed: Callable[[], object] = lambda: None
        """Is called when the ledger has other budgets than were known."""
        if notices is not None:
            notices.urge = self._urge
        self.forget()

    def forget(self) -> None:
        """Begin anew, as a forked child must; takes no lock."""
        self.rules = {name: budget.rule for name, budget in self._budgets.items()}
        """The budgets as the ledger has them, as far as that is known, by name."""
        self.charges: dict[str, Charged] = {}
        """What attempts that are not in the ledger yet are charged, by their ids."""
        self.unavailable_until = -NEVER
        """Up to when nobody need wait for the ledger, in microseconds of the monotonic clock."""
        self._silent_since: int | None = None
        self._is_closing = False
        self._is_closed = False
        self._asks: deque[Ask] = deque()
        self._held: dict[Lease, int] = {}
        self._losses = Losses(self.charges, self._unmark)
        self._numbers = itertools.count()
        self._looked: int | None = None
        self._renewed = 0
        self._ended_stale = -NEVER
        self._has_leases = False
        self._spenders: dict[tuple[str, str], Spender] = {}
        if self._notices is not None:
            self._notices.forget()
        self.rules_changed()

    def spender(self, rule: Rule, value: str) -> Spender:
        """Return what this process has of a budget for one of its values; the same one for all who ask."""
        return self._spenders.setdefault((rule.name, value), Spender(rule, value))

    def _urge(self) -> None:
        # What is told while the writer closes it takes note of by itself.
        if not self._is_closing:
            self.urge()

    def ask(self, asks: Sequence[Ask]) -> None:
        """Have the writer answer a call that waits."""
        self._is_closed = False
        self._asks.extend(asks)
        self.urge()

    @property
    def is_waited_for(self) -> bool:
        """Whether calls wait for an answer, or the budgets are not known yet."""
        return bool(self._asks) or self._looked is None

    def unanswered(self, since: int) -> None:
        """Take note that a call that has asked at this monotonic time got no answer in time.

        Where that goes on for a second, others need not find it out one by one.
        """
        if self._silent_since is None:
            self._silent_since = since
        now = self._clock.monotonic()
        if now - self._silent_since >= SECOND:
            self.unavailable_until = now + SECOND

    def serve(self, writer: BudgetWriter) -> float | None:
        """Answer the calls that wait, keep leases in hand and give back idle ones; return in how many seconds again.

        LedgerError where the ledger does not take it; then those who wait are told so.
        """
        self._is_closing = False
        asks: list[Ask] = []
        while self._asks:
            asks.append(self._asks.popleft())
        try:
            self._look(writer)
            self._keep_losses(writer)
            self._answer(writer, asks)
            if not self._is_closed:
                self._refill(writer)
            self._give_back(writer, everything=False)
            self._silent_since = None
        except Exception:
            self.unavailable_until = self._clock.monotonic() + SECOND
            raise
        finally:
            for ask in asks:
                if ask.answer(NO_ANSWER):
                    ask.end()
        again = None if self._notices is None else self._notices.serve(writer)
        if self._held:
            return _IDLE / SECOND if again is None else min(again, _IDLE / SECOND)
        return again

    def close(self, writer: BudgetWriter) -> None:
        """Give back what no call under way needs, and look once more what is to be told. Raises LedgerError."""
        self._is_closing = True
        # A run after this one has nothing to draw for: nobody would give it back.
        self._is_closed = True
        if self._notices is not None:
            self._notices.serve(writer, at_once=True)
        if self._has_leases:
            self._keep_losses(writer)
            self._give_back(writer, everything=True)

    def settle(self) -> None:
        """Wait for a moment until all is told that is to be told."""
        if self._notices is not None:
            self._notices.settle()

    def end(self, writer: BudgetWriter) -> None:
        """Take note of what has been told."""
        if self._notices is not None:
            self._notices.close(writer)

    @property
    def process(self) -> str | None:
        """What the names of this process's spool files begin with; None while it has no lease."""
        return self._process() if self._has_leases else None

    def of(self, ids: Iterable[str]) -> Sequence[Charge]:
        """Return what these attempts are charged."""
        charges = self.charges
        return [charge for each in ids for _, charge in charges.get(each, ())] if charges else ()

    def committed(self, ids: Iterable[str]) -> None:
        """Take note that these attempts are in the ledger."""
        if self._notices is not None:
            self._notices.changed = True
        if self.charges:
            for each in ids:
                for lease, charge in self.charges.pop(each, ()):
                    self._hold(lease, -charge.amount)

    def drop(self, id: str) -> bool:
        """Take note that an attempt is dropped; return whether it has spent of a lease. For any thread."""
        return self._losses.drop(id)

    def _keep_losses(self, writer: BudgetWriter) -> None:
        for lease, charge in self._losses.keep(writer, self._process(), self._clock.now()):
            self._hold(lease, -charge.amount)

    def _look(self, writer: BudgetWriter) -> None:
        """Register the budgets once, and look now and then whether others have changed them."""
        now = self._clock.monotonic()
        if self._looked is None:
            self._take(writer.register([budget.rule for budget in self._budgets.values()], self._clock.now()))
        elif now - self._looked > _LOOK:
            self._take(writer.known_budgets())
        else:
            return
        self._looked = now

    def _take(self, known: Sequence[Counted]) -> None:
        rules = {each.rule.name: each.rule for each in known if each.rule.name in self._budgets}
        if rules != self.rules:
            self.rules = rules
            self._spenders = {}
            self.rules_changed()

    def _answer(self, writer: BudgetWriter, asks: Sequence[Ask]) -> None:
        """Draw what those who wait need, and give it to them in the order in which they came."""
        groups: defaultdict[LeaseKey, list[Ask]] = defaultdict(list)
        for ask in filter(attrgetter("is_open"), asks):
            spender = ask.spender
            groups[LeaseKey(spender.rule.name, spender.value, spender.rule.span_of(ask.at).start)].append(ask)
        leases = [self._lease(group[0].spender, key) for key, group in groups.items()]
        left = {lease: lease.empty() for lease in leases}
        try:
            wants: list[_Want] = []
            for lease, group in zip(leases, groups.values(), strict=True):
                lacking = sum(ask.need for ask in group) - left[lease]
                if lacking > 0:
                    least = max(min(ask.need for ask in group) - left[lease], 0)
                    wants.append(_Want(group[0].spender, lease, least, lacking))
            drawn = self._draw(writer, wants)
            for lease, amount in drawn.items():
                left[lease] += amount
            refused = {want.lease for want in wants} - drawn.keys()
            for lease, group in zip(leases, groups.values(), strict=True):
                for ask in group if lease not in refused else ():
                    if ask.need <= left[lease]:
                        if not ask.answer(Answer(lease=lease)):
                            continue
                        left[lease] -= ask.need
                        lease.used_at = max(lease.used_at, ask.at)
                    else:
                        lease.full_at = self._clock.monotonic()
                        if not ask.answer(Answer(usage=lease.usage)):
                            continue
                    ask.end()
        finally:
            for lease, amount in left.items():
                lease.give(amount)

    def _draw(self, writer: BudgetWriter, wants: Sequence[_Want]) -> dict[Lease, int]:
        """Enlarge leases by their totals, by more where there is plenty, else by what is left if it is enough for one.

        Returns by how much.
        """
        found = self._draw_once(writer, wants)
        short = [want for want in wants if want.lease in found and found[want.lease] < want.least]
        if short and self._end_stale(writer):
            found |= self._draw_once(writer, short)
        return found

    def _draw_once(self, writer: BudgetWriter, wants: Sequence[_Want]) -> dict[Lease, int]:
        if not wants:
            return {}
        self._has_leases = True
        by_key = {want.lease.key: want for want in wants}
        found: dict[Lease, int] = {}
        for drawn in self._drawn(writer, [want.draw() for want in wants]):
            want = by_key[drawn.key]
            want.lease.usage = drawn.usage
            if drawn.usage.limit != want.spender.rule.limit:
                # Somebody has changed the budget: look at the next opportunity.
                self._looked = -NEVER
            self._hold(want.lease, drawn.amount)
            self._extend(want.spender.rule, want.lease)
            found[want.lease] = drawn.amount
        return found

    def _drawn(self, writer: BudgetWriter, draws: Sequence[Draw]) -> Sequence[Drawn]:
        """Return what was drawn, without what the ledger refuses: a value of `each` may have letters that it lacks."""
        try:
            return writer.draw(self._process(), draws, self._clock.now())
        except RowRefused:
            found: list[Drawn] = []
            for each in draws:
                with suppress(RowRefused):
                    found += writer.draw(self._process(), [each], self._clock.now())
            return found

    def _end_stale(self, writer: BudgetWriter) -> bool:
        """Take back the leases of those who are gone; return whether it was time to look for some."""
        clock = self._clock.monotonic()
        if clock - self._ended_stale < _LOOK:
            return False
        self._ended_stale = clock
        writer.end_stale(self._clock.now() - _STALE)
        return True

    def _lease(self, spender: Spender, key: LeaseKey) -> Lease:
        """Return the lease of a span; what is left of one that has not been renewed for too long is not taken from."""
        lease = spender.lease
        if lease is None or lease.key[:3] != key[:3] or self._clock.now() >= lease.until:
            before, lease = lease, Lease(key._replace(number=next(self._numbers)))
            self._extend(spender.rule, lease)
            # A call that began in the span before may come late.
            if before is None or before.start <= key.start:
                spender.lease = lease
        return lease

    def _extend(self, rule: Rule, lease: Lease) -> None:
        now = self._clock.now()
        end = rule.span_of(lease.start).end
        lease.until = min(NEVER if end is None else end, now + _VALID)

    def _hold(self, lease: Lease, change: int) -> None:
        """Keep in mind how much of a lease the ledger has."""
        held = self._held.get(lease, 0) + change
        if held > 0:
            self._held[lease] = held
        else:
            self._held.pop(lease, None)

    def _refill(self, writer: BudgetWriter) -> None:
        """Draw more before the calls of a busy program have to wait for it."""
        now = self._clock.now()
        wants: list[_Want] = []
        for spender in list(self._spenders.values()):
            lease = spender.lease
            if lease is None or lease.usage is None or not lease.start <= now < lease.until:
                continue
            extra = lease.usage.room // _PART
            if extra > 0 and now - lease.used_at <= SECOND and lease.left() < extra // 2:
                wants.append(_Want(spender, lease, extra, extra))
        for lease, amount in self._draw_once(writer, wants).items():
            lease.give(amount)

    def _drop_idle(self, now: int) -> None:
        """Forget values of budgets that nobody asks for, where there are many, such as customers."""
        if len(self._spenders) > _REMEMBERED:
            self._spenders = {
                key: spender
                for key, spender in self._spenders.items()
                if spender.lease is not None and now - spender.lease.used_at <= _IDLE
            }
            self.rules_changed()

    def _give_back(self, writer: BudgetWriter, *, everything: bool) -> None:
        """Give back what no call takes, and say of the rest that this process is alive."""
        now = self._clock.now()
        self._drop_idle(now)
        latest = {spender.lease for spender in self._spenders.values()}
        idle = [
            (lease, lease.empty())
            for lease in list(self._held)
            if everything or lease not in latest or now >= lease.until or now - lease.used_at > _IDLE
        ]
        amounts: defaultdict[LeaseKey, int] = defaultdict(int)
        for lease, amount in idle:
            if amount:
                amounts[lease.key] += amount
        if amounts or everything:
            try:
                writer.give_back(self._process(), amounts)
            except Exception:
                for lease, amount in idle:
                    lease.give(amount)
                raise
            for lease, amount in idle:
                self._hold(lease, -amount)
        if self._held and now - self._renewed > _RENEW:
            ended = {*writer.renew(self._process(), [lease.key for lease in self._held], now)}
            self._renewed = now
            for lease in [each for each in self._held if each.key in ended]:
                # Others have it by now. What calls of before give back to it nobody takes any more.
                lease.until = 0
                del self._held[lease]
            for spender in self._spenders.values():
                if spender.lease is not None and spender.lease in self._held:
                    self._extend(spender.rule, spender.lease)
