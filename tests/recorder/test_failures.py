"""A failure of ours is told with what, where and which errno, and with nothing that must stay private."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import NoReturn

import httpx
import pytest

import pixelmeter
from pixelmeter.core.text import scaled
from pixelmeter.errors import LedgerError
from pixelmeter.recorder.failures import Failures, described, settle
from pixelmeter.testing import Gateway
from tests.conftest import FakeClock
from tests.faults.support import GATEWAYS

SECRET = "PROMPT-canary"


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    settle(60)
    return [record.getMessage() for record in caplog.records if record.name == "pixelmeter"]


def raised(error: Exception) -> Exception:
    """Return an exception as it is when it has passed through code of ours."""

    class Odd(str):
        __slots__ = ()

        def strip(self, _: str | None = None) -> NoReturn:
            raise error

    try:
        scaled(Odd("1"), 1)
    except Exception as caught:
        return caught
    raise AssertionError


def test_an_error_of_the_system_is_told_with_its_number_and_our_path(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    failures = Failures(clock)
    failures.note("spool", OSError(errno.ENOSPC, "whatever", "/spools/a/b.spool"), path="/spools/a")
    # A line is logged on a thread of its own.
    settle(60)
    clock.advance(60_000_000)
    failures.note("spool", OSError(errno.EIO, "whatever"), path="/spools/a")

    end = "; requests are not affected, `pixelmeter doctor` says more"
    assert [
        f"pixelmeter failed in spool: OSError (1 so far): ENOSPC No space left on device, /spools/a/b.spool{end}",
        f"pixelmeter failed in spool: OSError (2 so far): EIO Input/output error, /spools/a{end}",
    ] == told(caplog)


@pytest.mark.parametrize(
    "error",
    [
        ValueError(SECRET),
        OSError(errno.EACCES, SECRET, f"/home/{SECRET}.png"),
        OSError(SECRET),
        KeyError(SECRET),
        RuntimeError({"prompt": SECRET}),
    ],
    ids=repr,
)
def test_the_text_of_an_error_that_is_not_ours_is_never_told(error: Exception) -> None:
    assert SECRET not in described(raised(error))
    assert SECRET not in described(raised(error), path="/spools")


def test_where_an_error_came_up_in_our_code_is_told() -> None:
    assert described(raised(ZeroDivisionError(SECRET))).startswith(f"core{os.sep}text.py:")


def test_an_error_of_ours_is_told_on_one_line_of_bounded_length() -> None:
    assert "the ledger x cannot be used: a b" == described(LedgerError("the ledger x cannot be used:\n a\x1b b"))
    assert 300 == len(described(LedgerError("x" * 5000)))


def test_an_error_of_which_nothing_is_known_is_told_by_its_class(
    clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    Failures(clock).note("body", ValueError(SECRET))

    assert "ValueError (1 so far): nothing more is known;" in told(caplog)[0]


def test_a_spool_and_a_ledger_that_cannot_be_had_say_why_in_the_log(
    gateway: Gateway, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    meter = pixelmeter.Meter(
        f"sqlite:///{tmp_path}/nowhere/ledger.db", gateways=GATEWAYS, spool_dir=str(tmp_path / "file")
    )
    with pixelmeter.instrument(httpx.Client(), meter) as client:
        client.post(f"{gateway.url}/images/generations", json={"model": "meta/sam-3-1-image", "prompt": SECRET})
        assert not meter.flush(5)

    [spool] = [line for line in told(caplog) if " in spool:" in line]
    [ledger] = [line for line in told(caplog) if " in ledger:" in line]
    assert f"NotADirectoryError (1 so far): ENOTDIR Not a directory, {tmp_path}/file/" in spool
    assert "LedgerError (" in ledger
    assert f"{tmp_path}/nowhere/ledger.db.lock: No such file or directory" in ledger
    assert SECRET not in "".join(told(caplog))
    meter.close(0)
