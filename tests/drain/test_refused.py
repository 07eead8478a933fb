"""What the ledger refuses holds up nothing else, is kept, and can be tried again."""

from __future__ import annotations

import contextlib
import errno
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from pixelmeter.core.attempts.jobs import JobEnd, Record
from pixelmeter.drain import GROUP, Drain
from pixelmeter.drain.census import census
from pixelmeter.errors import LedgerError
from pixelmeter.ledger.address import Address
from pixelmeter.ledger.writer import Writer, refuse_pruned, sorted_by_kind
from pixelmeter.spool import Spool, sorted_out
from pixelmeter.spool.frames import scan
from pixelmeter.system import SystemFiles, SystemIds
from tests.drain.ledger import outcomes, positions, rolled_up
from tests.drain.writers import POISON, Picky, refused
from tests.factories import STARTED_AT, make_attempt
from tests.faults.files import FaultyFiles, UnpluggedFiles

FILES = SystemFiles()
REASON = "UntranslatableCharacter SQLSTATE 22P05"


def spooled(spool: Spool, number: int, *poisoned: int) -> tuple[set[str], set[str]]:
    """Spool so many attempts that ended, some of them poisoned; return the ids of the good and of the bad ones."""
    good, bad = set[str](), set[str]()
    for position in range(number):
        is_bad = position in poisoned
        attempt = make_attempt(model=POISON if is_bad else "flux")
        (bad if is_bad else good).add(attempt.id)
        spool.intent(attempt)
        spool.outcome(attempt)
    return good, bad


def set_aside(folder: str) -> Mapping[str, int]:
    return census(FILES, folder).refused


def ids_set_aside(folder: str) -> set[str]:
    ids = set[str]()
    for names in sorted_out(FILES.list(folder)).refused.values():
        for name in names:
            ids |= {frame.record.id for frame in scan(Path(folder, name).read_bytes(), 0, final=True).frames}
    return ids


class Mended(Picky):
    """A ledger that takes some of the poisoned attempts by now."""

    def __init__(self, writer: Writer, mended: set[str]) -> None:
        super().__init__(writer)
        self._mended = mended

    def write(self, records: Sequence[Record], positions: Mapping[str, int], finished: Sequence[str]) -> int:
        self.is_cured = all(attempt.id in self._mended for attempt in records if attempt.model == POISON)
        return super().write(records, positions, finished)

    def expiring(self, at: int, limit: int) -> Sequence[JobEnd]:
        return ()


def make_drain(folder: str, writer: Writer, files: SystemFiles = FILES) -> Drain:
    return Drain(Spool(folder, files, SystemIds()), files, folder, writer)


@pytest.fixture
def picky(writer: Writer) -> Picky:
    return Picky(writer)


def test_a_refused_attempt_is_set_aside_and_those_around_it_arrive(
    folder: str, spool: Spool, picky: Picky, sqlite_url: str
) -> None:
    told: list[tuple[int, str]] = []
    drain = Drain(spool, FILES, folder, picky, lambda number, reason: told.append((number, reason)))
    good, bad = spooled(spool, 20, 3, 4, 17)

    assert [20, 0] == [drain.step(), drain.step()]
    assert good == set(outcomes(sqlite_url))
    assert ({REASON: 3}, len(good)) == (set_aside(folder), rolled_up(sqlite_url))
    assert (17, 3) == (drain.status()["committed"], drain.status()["refused"])
    assert [(3, "UntranslatableCharacter (SQLSTATE 22P05)")] == told
    drain.close()
    assert {} == sorted_out(FILES.list(folder)).spooled
    assert len(bad) == 3


@pytest.mark.slow
def test_what_is_refused_is_looked_for_by_halving(folder: str, picky: Picky, sqlite_url: str) -> None:
    spool = Spool(folder, FILES, SystemIds())
    drain = Drain(spool, FILES, folder, picky)
    good, _ = spooled(spool, GROUP, 4321)
    drain.step()

    assert good == set(outcomes(sqlite_url))
    assert picky.asked <= 2 + 2 * math.ceil(math.log2(GROUP))


class Pruned(Picky):
    """A ledger that takes nothing from before a moment, and counts how often it was asked to."""

    horizon = STARTED_AT
    writes = 0

    def write(self, records: Sequence[Record], positions: Mapping[str, int], finished: Sequence[str]) -> int:
        self.writes += 1
        refuse_pruned(Address("sqlite", path="/a"), sorted_by_kind(records)[0], self.horizon)
        return super().write(records, positions, finished)


def test_what_is_from_before_the_horizon_is_set_aside_at_once(
    folder: str, spool: Spool, writer: Writer, sqlite_url: str
) -> None:
    pruned = Pruned(writer)
    old = [make_attempt(started_at=STARTED_AT - 1 - number) for number in range(500)]
    young = [make_attempt() for _ in range(500)]
    for attempt in [*old[:250], *young, *old[250:]]:
        spool.outcome(attempt)
    drain = Drain(spool, FILES, folder, pruned)
    drain.step()

    assert {one.id for one in young} == outcomes(sqlite_url).keys()
    assert {one.id for one in old} == ids_set_aside(folder)
    assert {"it began before 2026 05 28 and what began before is pruned": 500} == set_aside(folder)
    assert pruned.writes < 5


def test_a_group_of_nothing_but_refused_attempts_is_set_aside(folder: str, spool: Spool, picky: Picky) -> None:
    drain = Drain(spool, FILES, folder, picky)
    spooled(spool, 7, *range(7))

    assert [7, 0] == [drain.step(), drain.step()]
    assert {REASON: 7} == set_aside(folder)


def test_attempts_that_are_refused_one_by_one_share_a_file(folder: str, spool: Spool, picky: Picky) -> None:
    drain = Drain(spool, FILES, folder, picky)
    for _ in range(5):
        spooled(spool, 2, 0)
        drain.step()

    assert ({REASON: 5}, 1) == (
        set_aside(folder),
        len(sorted_out(FILES.list(folder)).refused[REASON.replace(" ", "-")]),
    )


def test_a_database_that_goes_away_meanwhile_is_not_asked_again_and_again(
    folder: str, spool: Spool, writer: Writer, sqlite_url: str
) -> None:
    class Leaving(Picky):
        def _ask(self) -> None:
            self.is_away = self.asked >= 5
            super()._ask()

    leaving = Leaving(writer)
    drain = Drain(spool, FILES, folder, leaving)
    good, _ = spooled(spool, 100, 50)
    with pytest.raises(LedgerError, match="Connection refused"):
        drain.step()
    assert (6, {}) == (leaving.asked, set_aside(folder))

    back = Picky(writer)
    drain = Drain(spool, FILES, folder, back)
    while drain.step():
        pass
    assert (good, len(good)) == (set(outcomes(sqlite_url)), rolled_up(sqlite_url))
    assert {REASON: 1} == set_aside(folder)


@pytest.mark.slow
@pytest.mark.parametrize("leaver", ["step", "adopt"])
def test_a_kill_in_the_middle_of_setting_aside_loses_nothing_and_doubles_nothing(
    tmp_path: Path, writer: Writer, sqlite_url: str, leaver: str
) -> None:
    class Killed(BaseException):
        pass

    class Mortal(Picky):
        """Dies before or after one of its transactions."""

        def __init__(self, at: int) -> None:
            super().__init__(writer)
            self.at = at

        def _ask(self) -> None:
            super()._ask()
            if self.asked * 2 == self.at:
                raise Killed

        def write(self, records: Sequence[Record], positions: Mapping[str, int], finished: Sequence[str]) -> int:
            written = super().write(records, positions, finished)
            if self.asked * 2 + 1 == self.at:
                raise Killed
            return written

    class MortalFiles(FaultyFiles):
        def _fails(self, operation: str) -> bool:
            if super()._fails(operation):
                raise Killed
            return False

    everything = set[str]()
    for number in range(2, 10_000):
        folder = f"{tmp_path}/spool-{number}"
        files = MortalFiles()
        spool = Spool(folder, files, SystemIds())
        good, bad = spooled(spool, 8, 2, 5)
        everything |= good
        if leaver == "adopt":
            spool.forget()
            spool = Spool(folder, files, SystemIds())
        mortal = Mortal(number)
        files.at = files.operations + number // 2 if number % 2 else 0
        drain = Drain(spool, files, folder, mortal)
        died = False
        try:
            drain.step() if leaver == "step" else drain.adopt()
            drain.close()
        except Killed:
            died = True
        files.heal()
        drain.forget()
        spool.forget()

        make_drain(folder, Picky(writer)).adopt()
        assert everything == set(outcomes(sqlite_url)), number
        assert len(everything) == rolled_up(sqlite_url), number
        assert {} == sorted_out(FILES.list(folder)).spooled, number
        kept = census(FILES, folder)
        assert ({REASON: len(bad)}, []) == (kept.refused, kept.unreadable), number
        if not died and number > 60:
            break
    assert number > 60
    assert set(positions(sqlite_url)) == set()


@pytest.mark.parametrize("leaver", ["step", "adopt", "retry"])
def test_what_is_refused_is_on_the_disk_before_it_is_let_go_of(folder: str, writer: Writer, leaver: str) -> None:
    files = UnpluggedFiles()

    class Unplugged(Picky):
        """The power goes once the position behind what was refused is committed."""

        def write(self, records: Sequence[Record], positions: Mapping[str, int], finished: Sequence[str]) -> int:
            written = super().write(records, positions, finished)
            if positions or finished:
                files.unplug()
            return written

        def expiring(self, at: int, limit: int) -> Sequence[JobEnd]:
            return ()

    drain = make_drain(folder, Unplugged(writer), files)
    spool = Spool(folder, files, SystemIds())
    for _ in range(2):  # into a file that is made, and into one that is there
        spooled(spool, 3, 1)
        spool.sync()
        if leaver == "adopt":
            spool.forget()
            drain.adopt()
        else:
            Drain(spool, files, folder, drain.writer).step()
    if leaver == "retry":
        half = {next(iter(ids_set_aside(folder)))}
        make_drain(folder, Mended(writer, half), files).retry()
        files.unplug()

    assert {REASON: 1 if leaver == "retry" else 2} == set_aside(folder)


def test_a_poisoned_process_holds_up_no_other_and_neither_does_one_that_lives(
    folder: str, picky: Picky, sqlite_url: str
) -> None:
    everything = set[str]()
    for number in range(6):
        spool = Spool(folder, FILES, SystemIds())
        good, _ = spooled(spool, 5, *([2] if number in (0, 3) else []))
        everything |= good
        spool.forget()

    assert len(everything) == make_drain(folder, picky).adopt()
    assert everything == set(outcomes(sqlite_url))
    assert {REASON: 2} == set_aside(folder)
    assert {} == sorted_out(FILES.list(folder)).spooled


def test_the_intent_of_a_call_that_was_cut_off_can_be_refused_too(folder: str, picky: Picky, sqlite_url: str) -> None:
    spool = Spool(folder, FILES, SystemIds())
    spool.intent(make_attempt(model=POISON, outcome="interrupted"))
    spool.forget()
    make_drain(folder, picky).adopt()
    assert ({}, {REASON: 1}) == (outcomes(sqlite_url), set_aside(folder))
    picky.is_cured = True

    assert 1 == make_drain(folder, picky).retry()
    assert ["interrupted"] == list(outcomes(sqlite_url).values())


ODD: list[Callable[[], Exception]] = [
    lambda: LedgerError("the ledger sqlite:////l.db cannot be used: InternalError (SQLSTATE XX000)"),
    lambda: RuntimeError("a bug of a driver, with text of the row"),
    lambda: UnicodeEncodeError("latin-1", "x", 0, 1, "text of the row"),
]


@pytest.mark.parametrize("error", ODD)
def test_an_attempt_that_fails_for_a_reason_nobody_thought_of_is_set_aside_once_others_are_taken(
    folder: str, spool: Spool, writer: Writer, sqlite_url: str, error: Callable[[], Exception]
) -> None:
    drain = Drain(spool, FILES, folder, Picky(writer, error))
    good, _ = spooled(spool, 10, 4)
    for _ in range(5):
        try:
            while drain.step():
                pass
            break
        except LedgerError:
            continue

    assert good == set(outcomes(sqlite_url))
    [reason] = set_aside(folder)
    assert reason in {"InternalError SQLSTATE XX000", "RuntimeError", "UnicodeEncodeError"}


@pytest.mark.parametrize("error", ODD)
def test_a_process_that_fails_for_a_reason_nobody_thought_of_holds_up_no_other(
    folder: str, writer: Writer, sqlite_url: str, error: Callable[[], Exception]
) -> None:
    drain = make_drain(folder, Picky(writer, error))
    everything = set[str]()
    for number in range(4):
        spool = Spool(folder, FILES, SystemIds())
        good, _ = spooled(spool, 5, *([2] if number == 0 else []))
        everything |= good
        spool.forget()
    for _ in range(3):  # one pass a minute
        try:
            drain.adopt()
        except LedgerError:
            continue

    assert everything == set(outcomes(sqlite_url))
    assert 1 == sum(set_aside(folder).values())
    assert {} == sorted_out(FILES.list(folder)).spooled


@pytest.mark.parametrize("error", [*ODD, refused])
def test_a_database_that_takes_nothing_at_all_has_nothing_set_aside_unless_it_blames_the_data(
    folder: str, spool: Spool, writer: Writer, sqlite_url: str, error: Callable[[], Exception]
) -> None:
    picky = Picky(writer, error)
    drain = Drain(spool, FILES, folder, picky)
    spooled(spool, 500, *range(500))
    blames = error is refused
    for _ in range(6):
        before = picky.asked
        with pytest.raises(type(error())) if not blames else contextlib.nullcontext():
            while drain.step():
                pass
        assert blames or picky.asked - before < 100
    assert ({REASON: 500} if blames else {}) == set_aside(folder)
    picky.is_cured = True
    while drain.step():
        pass

    assert (0 if blames else 500) == len(outcomes(sqlite_url))


def test_a_single_attempt_that_fails_is_not_suspected_while_nothing_else_is_taken(
    folder: str, spool: Spool, writer: Writer, sqlite_url: str
) -> None:
    picky = Picky(writer, ODD[0])
    drain = Drain(spool, FILES, folder, picky)
    spooled(spool, 1, 0)
    for _ in range(10):
        with pytest.raises(LedgerError):
            drain.step()

    assert {} == set_aside(folder)
    good, _ = spooled(spool, 1)
    drain.step()
    assert (good, 1) == (set(outcomes(sqlite_url)), sum(set_aside(folder).values()))


def test_what_was_refused_is_taken_by_the_next_process_once_the_ledger_does(
    folder: str, spool: Spool, picky: Picky, sqlite_url: str
) -> None:
    good, bad = spooled(spool, 30, *range(0, 30, 3))
    Drain(spool, FILES, folder, picky).close()
    make_drain(folder, picky).adopt()
    assert {REASON: 10} == set_aside(folder)
    before = picky.asked
    make_drain(folder, picky).adopt()
    assert picky.asked - before <= 2  # one attempt was enough to see that it does not help
    picky.is_cured = True

    assert 10 == make_drain(folder, picky).adopt()
    assert good | bad == set(outcomes(sqlite_url))
    assert ([], 30) == (list(FILES.list(folder)), rolled_up(sqlite_url))


def test_a_retry_takes_what_it_can_and_keeps_the_rest(
    folder: str, spool: Spool, picky: Picky, writer: Writer, sqlite_url: str
) -> None:
    _, bad = spooled(spool, 9, *range(9))
    mended = set(sorted(bad)[:4])
    Drain(spool, FILES, folder, picky).close()
    drain = make_drain(folder, Mended(writer, mended))

    assert [4, 0] == [drain.retry(), drain.retry()]
    assert (mended, {REASON: 5}) == (set(outcomes(sqlite_url)), set_aside(folder))
    assert 4 == rolled_up(sqlite_url)


def test_a_retry_of_what_the_ledger_has_got_meanwhile_adds_nothing(
    folder: str, spool: Spool, picky: Picky, writer: Writer, sqlite_url: str
) -> None:
    attempt = make_attempt(model=POISON)
    spool.outcome(attempt)
    Drain(spool, FILES, folder, picky).close()
    writer.write([attempt], {}, ())
    picky.is_cured = True
    make_drain(folder, picky).retry()

    assert (1, [], 1) == (len(outcomes(sqlite_url)), list(FILES.list(folder)), rolled_up(sqlite_url))


def test_a_disk_without_room_to_set_aside_loses_nothing_and_the_others_arrive(
    folder: str, picky: Picky, sqlite_url: str
) -> None:
    files = FaultyFiles()
    spool = Spool(folder, files, SystemIds())
    drain = Drain(spool, files, folder, picky)
    good, _ = spooled(spool, 10, 5)
    files.break_("append", errno.ENOSPC)
    with pytest.raises(LedgerError, match=r"refuses 1 attempt \(Untrans.*\), .* cannot set them aside: No space left"):
        drain.step()
    assert good == set(outcomes(sqlite_url))
    files.heal()

    assert [10, 0] == [drain.step(), drain.step()]
    assert ({REASON: 1}, 9) == (set_aside(folder), rolled_up(sqlite_url))


def test_damage_among_what_was_set_aside_is_not_thrown_away(folder: str, picky: Picky) -> None:
    FILES.make_folder(folder)
    name = f"{SystemIds().new()}-000001.{REASON.replace(' ', '-')}.refused"
    Path(folder, name).write_bytes(b"\0" * 100)
    make_drain(folder, picky).retry()

    assert [name] == list(FILES.list(folder)) == census(FILES, folder).unreadable


class Cursed(SystemFiles):
    """The files of some processes raise whatever they like."""

    def __init__(self, error: BaseException, operation: str) -> None:
        self.error = error
        self.operation = operation
        self.cursed: set[str] = set()
        self._descriptors: set[int] = set()

    def adopt(self, path: str) -> int | None:
        descriptor = super().adopt(path)
        if Path(path).name[:36] in self.cursed:
            if self.operation == "adopt":
                if descriptor is not None:
                    self.close(descriptor)
                raise self.error
            assert descriptor is not None
            self._descriptors.add(descriptor)
        return descriptor

    def read(self, descriptor: int, offset: int, size: int) -> bytes:
        if descriptor in self._descriptors:
            raise self.error
        return super().read(descriptor, offset, size)

    def close(self, descriptor: int) -> None:
        self._descriptors.discard(descriptor)
        super().close(descriptor)


@pytest.mark.parametrize("operation", ["adopt", "read"])
@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), MemoryError(), RuntimeError("a bug")])
def test_a_process_whose_files_raise_anything_holds_up_no_other(
    folder: str, writer: Writer, sqlite_url: str, error: BaseException, operation: str
) -> None:
    files = Cursed(error, operation)
    everything = set[str]()
    for number in range(5):
        spool = Spool(folder, files, SystemIds())
        good, _ = spooled(spool, 3)
        if number in (0, 2):
            files.cursed.add(spool.segments()[0].name[:36])
        else:
            everything |= good
        spool.forget()
    drain = make_drain(folder, writer, files)

    assert 9 == drain.adopt()
    assert everything == set(outcomes(sqlite_url))
    assert (
        files.cursed
        == {name[:36] for name in drain.status()["unreadable"]}
        == set(sorted_out(FILES.list(folder)).spooled)
    )
    assert type(error).__name__ in str(drain.status()["last_error"])
    files.cursed.clear()
    assert 6 == drain.adopt()
    assert ([], 15) == (list(FILES.list(folder)), rolled_up(sqlite_url))
