"""Looking at a spool folder takes nothing of it."""

from __future__ import annotations

import os
from pathlib import Path

from pixelmeter.drain.census import Census, census
from pixelmeter.spool import Spool
from pixelmeter.system import SystemFiles, SystemIds
from tests.factories import make_attempt


def test_a_folder_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    assert Census(0, 0, 0, []) == census(SystemFiles(), str(tmp_path / "none"))


def test_an_intent_and_its_outcome_are_one_attempt_that_waits(tmp_path: Path) -> None:
    files = SystemFiles()
    living, dead = (Spool(str(tmp_path), files, SystemIds()) for _ in range(2))
    attempt = make_attempt()
    for spool in (living, dead):
        spool.intent(attempt)
        spool.outcome(attempt)
    dead.intent(make_attempt())
    [left] = dead.segments()
    files.close(left.descriptor)

    assert [Census(1, 1, 2, [])] * 2 == [census(files, str(tmp_path)), census(files, str(tmp_path))]
    assert 2 == len(os.listdir(tmp_path))
    living.forget()


def test_a_file_without_any_frame_is_unreadable(tmp_path: Path) -> None:
    name = f"{SystemIds().new()}-000001.spool"
    (tmp_path / name).write_bytes(b"\0" * 100)

    assert Census(0, 1, 0, [name]) == census(SystemFiles(), str(tmp_path))
