"""How full a spool folder is, and from when on somebody hears of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pixelmeter.reports.spool_check import check_limit
from pixelmeter.spool import LARGEST_FRAME

LIMIT = 4 * LARGEST_FRAME


@pytest.mark.parametrize(
    ("held", "state"),
    [
        (0, "ok"),
        (LIMIT // 2 - 1, "ok"),
        (LIMIT // 2, "warning"),
        (LIMIT - LARGEST_FRAME - 1, "warning"),
        (LIMIT - LARGEST_FRAME, "problem"),
        (LIMIT, "problem"),
    ],
)
def test_half_a_spool_is_a_warning_and_one_without_room_for_any_attempt_a_problem(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, held: int, state: str
) -> None:
    monkeypatch.setattr("pixelmeter.reports.spool_check.held", lambda sizes, positions: held)
    found = check_limit(str(tmp_path), {}, LIMIT)
    assert state == found.state
    assert f"{held:,} bytes are not in the ledger, of {LIMIT:,}" in found.found
