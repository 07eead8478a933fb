"""The sinks of docs/writing-a-sink.md do what the page says."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import openai
import pytest

import pixelmeter
from pixelmeter.core.attempts.adjustment import change_of
from pixelmeter.core.sink import AdjustmentSink
from pixelmeter.testing import Gateway
from tests.factories import make_attempt
from tests.site.programs import DOCS, file_of, shown

PAGE = "writing-a-sink.md"
ID = "0199c1f2-5b0e-7c11-9d4f-0d2b8f6f2a11"


def classes(name: str, folder: Path, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return what a program of the page defines; the meter that it makes has a ledger of its own."""
    patch.setenv("PIXELMETER_DATABASE_URL", f"sqlite:///{folder}/ledger.db")
    names: dict[str, Any] = {}
    exec(shown(PAGE, "python", name), names)
    return names


def picture(gateway: Gateway, meter: pixelmeter.Meter) -> None:
    """Make one through a metered client."""
    with openai.OpenAI(base_url=gateway.url, api_key="any") as client:
        pixelmeter.instrument(client, meter).images.generate(model="meta/sam-3-1-image", prompt="a fox")


def test_its_line_has_the_fields_that_the_page_shows(
    gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PIXELMETER_GATEWAYS", "127.0.0.1:*=aigateway")
    caplog.set_level(logging.INFO, "images")
    with (
        classes("log_sink.py", tmp_path, monkeypatch)["meter"] as meter,
        pixelmeter.tags(team="growth"),
    ):
        picture(gateway, meter)
    [text] = re.findall(r"```json\n(.*)\n```", (DOCS / PAGE).read_text())
    expected, line = json.loads(text), json.loads(caplog.messages[0])
    unlike = {"call", "seconds"}
    assert {name: value for name, value in expected.items() if name not in unlike} == {
        name: value for name, value in line.items() if name not in unlike
    }
    assert list(expected) == list(line)
    assert {} == meter.status()["failures"]


def test_what_a_sink_raises_is_counted_under_the_name_of_its_class(
    gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = classes("log_sink.py", tmp_path, monkeypatch)
    sink, names["log"] = names["LogSink"](), None
    with pixelmeter.Meter(f"sqlite:///{tmp_path}/a.db", sinks=[sink], gateways={"127.0.0.1:*": "aigateway"}) as meter:
        picture(gateway, meter)
    assert 1 == meter.status()["failures"]["LogSink"]


def test_it_is_told_of_adjustments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "images")
    monkeypatch.syspath_prepend(tmp_path)
    file_of(tmp_path, PAGE, "python", "log_sink.py")
    sink = classes("adjusting_sink.py", tmp_path, monkeypatch)["AdjustingLogSink"]()
    before, after = make_attempt(id=ID, cost=None), make_attempt(id=ID, cost=7)
    assert isinstance(sink, AdjustmentSink)
    sink.adjust(change_of(before, after, number=1, kind="manual", made_at=1, source="invoice", version="0"))
    assert [f"attempt {ID}: cost was None, is 7"] == caplog.messages


class Sent:
    """What a queue sink has sent, each attempt only when it may go."""

    def __init__(self) -> None:
        self.attempts: list[pixelmeter.Attempt] = []
        self.may_go = threading.Event()

    def send(self, attempt: pixelmeter.Attempt) -> None:
        """Take an attempt; the first one cannot be sent."""
        assert self.may_go.wait(60)
        self.attempts.append(attempt)
        if len(self.attempts) == 1:
            raise OSError("down")


def test_the_queue_sink_does_not_wait_and_goes_on_after_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    sent = Sent()
    sink = classes("queue_sink.py", tmp_path, monkeypatch)["QueueSink"](sent.send)
    attempts = [make_attempt() for _ in range(3)]
    for attempt in attempts:
        sink.record(attempt)
    assert [] == sent.attempts
    sent.may_go.set()
    sink.join()
    assert attempts == sent.attempts
    assert [f"attempt {attempts[0].id} was not sent"] == caplog.messages


def test_the_queue_sink_raises_where_its_queue_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent = Sent()
    names = classes("queue_sink.py", tmp_path, monkeypatch)
    sink = names["QueueSink"](sent.send, limit=1)
    with pytest.raises(names["queue"].Full):
        for _ in range(3):
            sink.record(make_attempt())
    sent.may_go.set()
    sink.join()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_the_queue_sink_has_a_thread_in_a_forked_child(tmp_path: Path) -> None:
    file_of(tmp_path, PAGE, "python", "queue_sink.py")
    program = tmp_path / "program.py"
    program.write_text(
        "import os\n"
        "from queue_sink import QueueSink\n"
        "class Attempt:\n"
        "    id = 'a'\n"
        "sink = QueueSink(lambda attempt: print(attempt.id, flush=True))\n"
        "sink.record(Attempt()); sink.join()\n"
        "child = os.fork()\n"
        "sink.record(Attempt()); sink.join()\n"
        "if child: os.waitpid(child, 0)\n"
    )
    # Python 3.12 and later warn of a fork with a thread, which is what this is about.
    command = [sys.executable, "-W", "ignore::DeprecationWarning", str(program)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert ("a\n" * 3, "") == (done.stdout, done.stderr)


@pytest.mark.slow
def test_the_test_of_the_page_passes(tmp_path: Path) -> None:
    for name in ("log_sink.py", "test_log_sink.py"):
        file_of(tmp_path, PAGE, "python", name)
    [options] = re.findall(r"`pytest (-p [^`]+)`", (DOCS / PAGE).read_text())
    command = [sys.executable, "-m", "pytest", "-q", *options.split(), "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert "1 passed" in done.stdout, done.stdout + done.stderr
