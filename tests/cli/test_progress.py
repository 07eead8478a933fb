"""Progress bars: on standard error, and out of the way of what else is said there."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.cli.terminal import opened, written

PROGRAM = """
import sys
from pixelmeter.cli.output import warn
from pixelmeter.cli.progress import progress
total = int(sys.argv[1]) or None
with progress("Reading", total, is_shown=True) as show:
    show(1, "page 1")
    warn("it is slow")
    show(1, "page 1, more of it")
    show(2, "page 2")
"""


def screen_of(total: int) -> str:
    """Return what a terminal that takes the standard error of a program shows in the end, all of it."""
    with opened(100) as (reader, writer):
        with subprocess.Popen([sys.executable, "-c", PROGRAM, str(total)], stderr=writer, env=os.environ) as process:
            os.close(writer)
            screen = written(reader)
            assert 0 == process.wait()
        return screen


def lines(screen: str) -> list[str]:
    """Return the lines of a screen as they are after all that was erased and written over."""
    shown = screen.replace("\x1b[?25l", "").replace("\x1b[?25h", "")
    return [line.rpartition("\x1b[K")[2].rpartition("\r")[2].rstrip() for line in shown.split("\n")]


def test_a_bar_shows_how_far_it_is_and_what_of() -> None:
    screen = screen_of(total=4)
    assert "  25%  page 1" in screen
    assert "page 1, more of it" in screen
    assert "  50%  page 2" in screen


def test_a_total_that_nobody_knows_has_no_share() -> None:
    screen = screen_of(total=0)
    assert "page 2" in screen
    assert "%" not in screen


def test_a_warning_stands_on_a_line_of_its_own_and_the_bar_is_gone_at_the_end() -> None:
    assert ["Warning: it is slow", "", ""] == lines(screen_of(total=4))


def test_no_bar_goes_to_a_file() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM, "4"], stderr=subprocess.PIPE, text=True, check=True)
    assert "Reading\nWarning: it is slow\n" == done.stderr
