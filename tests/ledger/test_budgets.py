"""Sums of budgets equal the sums over the rows, and leases never go beyond a limit; on both databases."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

import msgspec
import pytest

from pixelmeter.core.attempts.record import Attempt
from pixelmeter.core.budgets.budget import Budget, usd_of
from pixelmeter.core.budgets.lease import Draw, LeaseKey
from pixelmeter.core.budgets.sums import Counted, tags_of
from pixelmeter.ledger.adjusting import Author
from pixelmeter.ledger.attempts import adjusted_attempts_of, identities
from pixelmeter.ledger.budget_changes import ResetAuthor
from pixelmeter.ledger.reader import reading_ledger
from pixelmeter.ledger.writer import LedgerWriter, open_writer
from tests.factories import STARTED_AT, make_attempt

HOUR = 3_600_000_000
DAY = 24 * HOUR
USD = 1_000_000_000
SUMS = (
    "SELECT budget, value, starts_at, attempts, blocked, unknown_cost_attempts, cost, at_risk"
    " FROM pixelmeter_budget_sums"
)

BUDGETS = [
    Budget(10, per="day"),
    Budget(10, per="total", scope={"model": "openai/*"}),
    Budget(10, per="week", tz="Asia/Kathmandu", each="tag:team"),
    Budget(10, per="month", tz="America/Havana", scope={"tags": {"team": "grow*"}, "operation": "generate"}),
    Budget(10, per="day", tz="Pacific/Apia", each="model", scope={"gateway": "aigateway"}),
]


def sums_in(url: str) -> dict[tuple[str, str, int], tuple[int, ...]]:
    """Return the sums that a ledger keeps, without rows of nothing."""
    with reading_ledger(url) as reader:
        found = {
            (budget, value, reader.dialect.microseconds(start)): tuple(amounts)
            for budget, value, start, *amounts in reader.rows(SUMS)
        }
    return {key: amounts for key, amounts in found.items() if any(amounts)}


def sums_over_rows(url: str, known: Iterable[Counted]) -> dict[tuple[str, str, int], tuple[int, ...]]:
    """Return the same by looking at every row of the ledger, one by one."""
    with reading_ledger(url) as reader:
        every = adjusted_attempts_of(reader, identities(reader, since=datetime(1990, 1, 1, tzinfo=UTC)))
    found: dict[tuple[str, str, int], Counter[str]] = {}
    for rule, since in known:
        for one in every:
            value = rule.value_of(one, tags_of(one.tags))
            if value is None or one.started_at < since or one.byok:
                continue
            sums = found.setdefault((rule.name, value, rule.span_of(one.started_at).start), Counter())
            sums["blocked" if one.outcome == "blocked" else "attempts"] += 1
            sums["unknown"] += one.cost is None and one.outcome != "blocked"
            sums["cost"] += one.cost or 0
            sums["at_risk"] += one.at_risk or 0
    names = ("attempts", "blocked", "unknown", "cost", "at_risk")
    return {key: tuple(sums[name] for name in names) for key, sums in found.items() if any(sums.values())}


def varied(random: random.Random) -> Attempt:
    """Return an attempt of some team and model, some days around the first of a month."""
    outcome = random.choice(["success", "success", "timeout", "blocked"])
    cost = {"success": random.choice([0, 40_000_000, None]), "timeout": None, "blocked": 0}[outcome]
    return make_attempt(
        started_at=STARTED_AT + random.randrange(-6 * DAY, 6 * DAY),
        requested_model=random.choice(["openai/gpt-image-2", "meta/sam", None]),
        model=random.choice(["openai/gpt-image-2", "meta/sam"]),
        gateway=random.choice(["aigateway", "openrouter"]),
        operation=random.choice(["generate", "edit"]),
        tags=random.choice(["{}", '{"team":"growth"}', '{"team":"grown-ups","x":"1"}', '{"team":"ops"}']),
        outcome=outcome,
        cost=cost,
        at_risk=30_000_000 if outcome == "timeout" else None,
        byok=random.random() < 0.1,
        cost_source="none",
        reported_cost=None,
    )


def corrected(attempt: Attempt) -> Attempt | None:
    """Return an attempt whose cost somebody knows better; None for one that was never sent."""
    if attempt.outcome == "blocked":
        return None
    return msgspec.structs.replace(attempt, cost=17_000_000, at_risk=None, billing="billed", cost_source="reconciled")


@pytest.mark.parametrize("seed", range(4))
def test_sums_equal_the_rows_whatever_comes_in_which_order(ledger_url: str, seed: int) -> None:
    choose = random.Random(seed)
    writers = [open_writer(ledger_url) for _ in range(2)]
    every: list[Attempt] = []
    author = Author("reconciled", "test", STARTED_AT, "test")
    known: Sequence[Counted] = ()
    for step in range(12):
        writer = choose.choice(writers)
        if step % 4 == 2:
            # At another time each, so that some begin in the middle of what is there.
            rules = [budget.rule for budget in choose.sample(BUDGETS, 3)]
            known = writer.register(rules, STARTED_AT + choose.randrange(-DAY, DAY))
        some = [varied(choose) for _ in range(choose.choice([1, 3, 40]))]
        every += some
        again = choose.sample(every, min(len(every), 3))
        writer.write([*some, *again], {}, [])
        ids = [one.id for one in choose.sample(every, min(len(every), 5))]
        writer.adjust(ids, corrected, author)
        assert sums_over_rows(ledger_url, known) == sums_in(ledger_url)
    for writer in writers:
        writer.close()


def test_a_budget_with_another_limit_goes_on_and_one_that_counts_otherwise_begins_anew(ledger_url: str) -> None:
    writer = open_writer(ledger_url)
    attempts = [make_attempt(cost=USD), make_attempt(cost=USD, requested_model="meta/sam")]
    writer.write(attempts, {}, [])
    writer.register([Budget(10, per="day", name="b").rule], STARTED_AT)
    key = LeaseKey("b", "", STARTED_AT // DAY * DAY)
    [drawn] = writer.draw("p", [Draw(key, 10 * USD, 1, 1, 1, 1)], STARTED_AT)
    assert (2 * USD, 1) == (drawn.usage.spent, drawn.usage.reserved)
    writer.register([Budget(20, per="day", name="b").rule], STARTED_AT)
    [drawn] = writer.draw("p", [Draw(key, 20 * USD, 1, 1, 1, 1)], STARTED_AT)
    assert (2 * USD, 2) == (drawn.usage.spent, drawn.usage.reserved)
    writer.register([Budget(20, per="day", name="b", scope={"model": "meta/*"}).rule], STARTED_AT)
    [drawn] = writer.draw("p", [Draw(key, 20 * USD, 1, 1, 1, 1)], STARTED_AT)
    assert (USD, 3) == (drawn.usage.spent, drawn.usage.reserved)
    writer.close()


def test_a_writer_that_does_not_know_a_budget_counts_towards_it(ledger_url: str) -> None:
    one, other = open_writer(ledger_url), open_writer(ledger_url)
    other.write([make_attempt(cost=USD)], {}, [])
    known = one.register([Budget(10, per="day").rule], STARTED_AT)
    other.write([make_attempt(cost=USD)], {}, [])
    other.write([make_attempt(cost=USD) for _ in range(20)], {}, [])
    assert sums_over_rows(ledger_url, known) == sums_in(ledger_url)
    assert [22 * USD] == [amounts[3] for amounts in sums_in(ledger_url).values()]
    one.close()
    other.close()


def test_a_budget_that_is_set_while_others_write_counts_each_of_their_attempts_once(ledger_url: str) -> None:
    writers = [open_writer(ledger_url) for _ in range(4)]
    begun = threading.Barrier(5)

    def write(writer: LedgerWriter) -> None:
        begun.wait()
        for _ in range(15):
            writer.write([make_attempt(cost=USD) for _ in range(random.choice([1, 12]))], {}, [])

    threads = [threading.Thread(target=write, args=[writer]) for writer in writers]
    for thread in threads:
        thread.start()
    setting = open_writer(ledger_url)
    begun.wait()
    known: Sequence[Counted] = ()
    for number in range(5):
        known = setting.register([Budget(10, per="day", name=f"budget {number}").rule], STARTED_AT)
    for thread in threads:
        thread.join()
    assert sums_over_rows(ledger_url, known) == sums_in(ledger_url)
    assert 5 == len(sums_in(ledger_url))
    for writer in (*writers, setting):
        writer.close()


class Bank:
    """Leases of some processes, as they know them."""

    def __init__(self, url: str, limit: int) -> None:
        self.url = url
        self.limit = limit
        self.key = LeaseKey("b", "", 0)
        self.writers = [open_writer(url) for _ in range(3)]
        self.writers[0].register([Budget(usd_of(limit), per="total", name="b").rule], STARTED_AT)
        self.held: Counter[str] = Counter()

    def draw(self, process: int, least: int, total: int, more: int) -> int:
        name = f"p{process}"
        draw = Draw(self.key, self.limit, least, total, more, more * 2)
        [drawn] = self.writers[process].draw(name, [draw], STARTED_AT + process)
        self.held[name] += drawn.amount
        assert drawn.amount == 0 or drawn.amount >= least
        assert self.held.total() == drawn.usage.reserved
        assert drawn.usage.spent + drawn.usage.reserved <= self.limit
        return drawn.amount

    def give_back(self, process: int, part: float) -> None:
        name = f"p{process}"
        amount = int(self.held[name] * part)
        self.held[name] -= amount
        self.writers[process].give_back(name, {self.key: amount} if amount else {})

    def die(self, process: int) -> None:
        """Have another one take in what a process has left: its spool is done with then."""
        self.writers[process - 1].write([], {}, [f"p{process}-000001.spool"])
        del self.held[f"p{process}"]

    def check(self) -> None:
        leases: Counter[str] = Counter()
        with reading_ledger(self.url) as reader:
            for process, amount in reader.rows("SELECT process, amount FROM pixelmeter_budget_leases"):
                leases[process] += amount
            leased = [row[0] for row in reader.rows("SELECT leased FROM pixelmeter_budget_sums")]
        assert +self.held == +leases
        assert [self.held.total()] == (leased or [0])

    def close(self) -> None:
        for writer in self.writers:
            writer.close()


@pytest.mark.parametrize("seed", range(6))
def test_leases_are_what_was_drawn_and_never_more_than_there_is(ledger_url: str, seed: int) -> None:
    choose = random.Random(seed)
    bank = Bank(ledger_url, 10 * USD)
    for _ in range(25):
        process = choose.randrange(3)
        match choose.choice(["draw", "draw", "draw", "give back", "die", "stale"]):
            case "draw":
                least, more = choose.randrange(1, 3 * USD), choose.randrange(2 * USD)
                bank.draw(process, least, least + more // 2, least + more)
            case "give back":
                bank.give_back(process, choose.random())
            case "die":
                bank.die(process)
            case _:
                bank.writers[0].end_stale(STARTED_AT + process)
                for each in range(process):
                    del bank.held[f"p{each}"]
        bank.check()
    bank.close()


def test_leases_of_writers_at_once_never_go_beyond_the_limit(ledger_url: str) -> None:
    bank = Bank(ledger_url, 100)
    writers = [open_writer(ledger_url) for _ in range(4)]
    got: list[int] = []

    def draw(writer: LedgerWriter, process: str) -> None:
        for _ in range(40):
            [drawn] = writer.draw(process, [Draw(bank.key, 100, 1, 1, 1, 1)], STARTED_AT)
            got.append(drawn.amount)

    threads = [threading.Thread(target=draw, args=[writer, f"q{at}"]) for at, writer in enumerate(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter({1: 100, 0: 60}) == Counter(got)
    for writer in writers:
        writer.close()
    bank.close()


@pytest.mark.parametrize("cost", [0, 4, 9, 12])
def test_a_reset_takes_off_what_attempts_of_before_cost_in_the_end(ledger_url: str, cost: int) -> None:
    writer = open_writer(ledger_url)
    writer.register([Budget(10, per="day", name="b").rule], STARTED_AT)
    before = make_attempt(cost=None, at_risk=9 * USD, billing="unknown", outcome="timeout", cost_source="none")
    writer.write([before], {}, [])
    writer.reset("b", None, ResetAuthor(STARTED_AT + HOUR, "me", "why"))
    after = make_attempt(started_at=STARTED_AT + 2 * HOUR, cost=3 * USD)
    writer.write([after], {}, [])

    def settled(attempt: Attempt) -> Attempt:
        return msgspec.structs.replace(attempt, cost=cost * USD, at_risk=None, cost_source="reconciled")

    author = Author("reconciled", "test", STARTED_AT + 3 * HOUR, "test")
    writer.adjust([before.id], settled, author)
    key = LeaseKey("b", "", STARTED_AT // DAY * DAY)
    [drawn] = writer.draw("p", [Draw(key, 10 * USD, 1, 1, 1, 1)], STARTED_AT + 3 * HOUR)
    assert 3 * USD == drawn.usage.spent
    writer.adjust([after.id], lambda one: msgspec.structs.replace(one, cost=USD, cost_source="reconciled"), author)
    [drawn] = writer.draw("p", [Draw(key, 10 * USD, 1, 1, 1, 1)], STARTED_AT + 3 * HOUR)
    assert USD == drawn.usage.spent
    writer.close()
