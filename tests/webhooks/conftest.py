from __future__ import annotations

from pathlib import Path

import pytest

import pixelmeter
from pixelmeter.core.attempts.jobs import JobEnd
from pixelmeter.recorder.recorder import Recorder
from pixelmeter.system import SystemClock
from tests.webhooks.senders import SECRETS, TIME


@pytest.fixture(autouse=True)
def heard(monkeypatch: pytest.MonkeyPatch) -> list[JobEnd]:
    """What has been recorded; it is the time at which the events were signed."""
    ends: list[JobEnd] = []
    monkeypatch.setattr(SystemClock, "now", lambda _: TIME * 1_000_000)
    monkeypatch.setattr(Recorder, "job_end", lambda _, end: ends.append(end), raising=False)
    return ends


@pytest.fixture
def meter(tmp_path: Path) -> pixelmeter.Meter:
    return pixelmeter.Meter(f"sqlite:///{tmp_path}/a.db", webhook_secrets=SECRETS)
