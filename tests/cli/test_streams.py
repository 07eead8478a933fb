"""Commands whose standard streams are full, closed or broken end with a line and a status, and never a traceback."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from pixelmeter.ledger import migrate
from pixelmeter.ledger.writer import open_writer
from tests.factories import make_attempt
from tests.hazards.process import environment

EVERY_COMMAND = (
    "--help",
    "report --format json",
    "calls --format csv",
    "db status",
    "db downgrade base --yes",
    "prices show gpt-image-1",
    "dashboards export out",
    "doctor",
)
WRITERS = ("--help", "calls --format csv", "db downgrade base --yes")
"""One of each way to write: by click, by rows, and a line after something has been done."""

EACH_COMMAND = pytest.mark.parametrize(
    "command", [pytest.param(one, marks=[] if one in WRITERS else [pytest.mark.slow]) for one in EVERY_COMMAND]
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a ledger of one row."""
    with closing(open_writer(f"sqlite:///{tmp_path}/pixelmeter.db")) as writer:
        writer.write([make_attempt()], {}, [])
    return tmp_path


def run(command: str, folder: Path, redirections: str) -> subprocess.CompletedProcess[str]:
    shell = f"exec {sys.executable} -m pixelmeter {command} {redirections}"
    return subprocess.run(
        ["sh", "-c", shell], cwd=folder, env=environment(), capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
@pytest.mark.parametrize("command", EVERY_COMMAND)
def test_a_full_disk_is_told_in_one_line(folder: Path, command: str) -> None:
    ended = run(command, folder, ">/dev/full")

    assert (1, "Error: cannot write to standard output: No space left on device\n") == (ended.returncode, ended.stderr)


@pytest.mark.slow
@EACH_COMMAND
def test_a_closed_standard_output_is_told_in_one_line(folder: Path, command: str) -> None:
    ended = run(command, folder, ">&-")

    assert (1, "Error: cannot write to standard output: Bad file descriptor\n") == (ended.returncode, ended.stderr)


@pytest.mark.slow
@EACH_COMMAND
def test_a_reader_that_has_left_is_not_worth_a_word(folder: Path, command: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    ended = subprocess.run(
        [sys.executable, "-m", "pixelmeter", *command.split()],
        cwd=folder,
        env=environment(),
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
    )
    os.close(writing)

    assert (1, "") == (ended.returncode, ended.stderr)


@pytest.mark.slow
def test_a_closed_standard_input_and_error_do_not_matter(folder: Path) -> None:
    ended = run("calls --format csv", folder, "<&- 2>&-")

    assert (0, 2) == (ended.returncode, len(ended.stdout.splitlines()))


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
@pytest.mark.parametrize("redirections", [">&- 2>&-", ">/dev/full 2>/dev/full", "<&- >&- 2>&-"])
def test_a_command_without_any_stream_still_does_its_work(folder: Path, redirections: str) -> None:
    ended = run("db downgrade base --yes", folder, redirections)

    assert 0 < ended.returncode
    assert "absent" == migrate.status(f"sqlite:///{folder}/pixelmeter.db").state


def test_what_cannot_be_read_or_written_is_named(folder: Path) -> None:
    (folder / "out").write_text("a file")
    ended = run("dashboards export out/below", folder, "")

    assert 1 == ended.returncode
    assert 1 == len(ended.stderr.splitlines())
    assert "Not a directory" in ended.stderr


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
@pytest.mark.parametrize("redirection", [">&-", ">/dev/full"])
def test_an_exporter_whose_address_nobody_reads_serves_all_the_same(folder: Path, redirection: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    shell = f"exec {sys.executable} -m pixelmeter serve --metrics --port {port} {redirection}"
    with subprocess.Popen(
        ["sh", "-c", shell], cwd=folder, env=environment(), stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            # Tried again, at growing distances, until the server listens.
            with httpx.Client(transport=httpx.HTTPTransport(retries=8), timeout=60) as client:
                answer = client.get(f"http://127.0.0.1:{port}/-/healthy").text
            process.terminate()
            _, errors = process.communicate(timeout=60)
        finally:
            if process.poll() is None:
                process.kill()

    assert ("healthy\n", 0, "") == (answer, process.returncode, errors)
