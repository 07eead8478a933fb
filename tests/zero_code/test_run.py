"""`pixelmeter run` puts a program in its own place: streams, signals, status and path are the program's."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from pixelmeter.testing import Gateway
from tests.zero_code.programs import CALL, Ended, app, bare, ended, environment, rows, running

LAUNCHER = str(Path(sys.executable).with_name("opentelemetry-instrument"))
SILENT = {f"OTEL_{name}_EXPORTER": "none" for name in ("TRACES", "METRICS", "LOGS")}


@pytest.mark.parametrize(
    "program",
    [
        "import sys; print(sys.stdin.read()); sys.exit(7)",
        "import os; os.abort()",
        "import os; os.kill(os.getpid(), 15)",
    ],
    ids=["status", "abort", "signal"],
)
def test_input_output_and_status_are_the_programs(program: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", program]
    expected = ended(command, bare(), tmp_path, given="a\nb")
    assert expected == ended(running(*command), bare(), tmp_path, given="a\nb")


def test_a_signal_goes_to_the_program_itself(tmp_path: Path) -> None:
    program = (
        "import signal, sys\nsignal.signal(15, lambda *_: sys.exit(9))\nprint('ready', flush=True)\nsignal.pause()"
    )
    command = running(sys.executable, "-c", program)
    with subprocess.Popen(command, env=bare(), cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "ready\n" == process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        assert 9 == process.wait(60)


@pytest.mark.slow
def test_a_program_that_is_interrupted_right_after_a_call_ends_by_that_signal(gateway: Gateway, tmp_path: Path) -> None:
    program = f"import httpx, os, sys\n{CALL}\ncall(sys.argv[1]); os.kill(os.getpid(), 2); sys.stdin.read()"
    command = [sys.executable, app(tmp_path, program), gateway.url]
    metered = ended(running(*command), environment(tmp_path), tmp_path)

    assert (-signal.SIGINT, "200\n") == (metered.status, metered.output)
    assert "KeyboardInterrupt" == metered.errors.splitlines()[-1]
    assert ["success"] == rows(tmp_path)


def test_a_program_that_is_not_of_python_is_told_of_signals_as_ever(tmp_path: Path) -> None:
    show = ["sh", "-c", "grep SigIgn /proc/self/status"]
    if not Path("/proc/self/status").exists():
        pytest.skip("only Linux shows which signals a process ignores")
    assert ended(show, bare(), tmp_path) == ended(running(*show), bare(), tmp_path)


@pytest.mark.slow
def test_nothing_of_ours_is_in_the_place_of_a_stream_that_is_closed(gateway: Gateway, tmp_path: Path) -> None:
    program = f"""
import errno, httpx, os, pathlib, sys
{CALL.replace("print(answer.status_code, flush=True)", "return answer.status_code")}
call(sys.argv[1])
def written(number):
    try:
        return os.write(number, b"garbage")
    except OSError as error:
        return errno.errorcode[error.errno]
pathlib.Path("told").write_text(str([written(number) for number in range(3)]))
call(sys.argv[1])
"""
    command = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, app(tmp_path, program), gateway.url]
    assert Ended(0, "", "") == ended(running(*command), environment(tmp_path), tmp_path)
    assert "['EBADF', 'EBADF', 'EBADF']" == (tmp_path / "told").read_text()
    assert ["success"] * 2 == rows(tmp_path)


def test_an_option_in_the_place_of_the_command_is_one_of_this_python(tmp_path: Path) -> None:
    app(tmp_path, "import sys; print(sys.executable, sys.argv[1:])", "shown.py")
    printed = f"{sys.executable} ['--tag', 'x=y']\n"
    assert printed == ended(running("-m", "shown", "--tag", "x=y"), bare(), tmp_path).output
    without_dashes = [sys.executable, "-m", "pixelmeter", "run", sys.executable, "shown.py", "--tag", "x=y"]
    assert printed == ended(without_dashes, bare(), tmp_path).output


@pytest.mark.parametrize(
    ("command", "status", "said"),
    [(["nosuch-command"], 127, "there is no command 'nosuch-command'"), (["./text"], 126, "cannot be run")],
)
def test_what_cannot_be_started_is_told_as_a_shell_does(
    command: list[str], status: int, said: str, tmp_path: Path
) -> None:
    (tmp_path / "text").write_bytes(b"\x7fELF")
    (tmp_path / "text").chmod(0o755)
    found = ended(running(*command), bare(), tmp_path)
    assert (status, "") == (found.status, found.output)
    assert said in found.errors


def test_options_are_settings_of_the_program(tmp_path: Path) -> None:
    show = "import os; print([os.environ[f'PIXELMETER_{name}'] for name in ('DATABASE_URL', 'TAGS')])"
    command = [
        *(sys.executable, "-m", "pixelmeter", "run", "--database-url", "sqlite:///fox.db"),
        *("--tag", "team=growth", "--tag", "job=a,b", "--", sys.executable, "-c", show),
    ]
    found = ended(command, bare() | {"PIXELMETER_TAGS": "env=prod,team=core"}, tmp_path)
    url, tags = json.loads(found.output.replace("'", "\x00").replace('"', '\\"').replace("\x00", '"'))
    assert f"sqlite:///{tmp_path}/fox.db" == url
    assert {"env": "prod", "team": "growth", "job": "a,b"} == json.loads(tags)


@pytest.mark.parametrize("option", [("--tag", "team"), ("--database-url", "mysql://a"), ("--tag", "=x")])
def test_options_that_cannot_be_used_are_refused(option: tuple[str, str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pixelmeter", "run", *option, "--", sys.executable, "-c", "print('never')"]
    found = ended(command, bare(), tmp_path)
    assert "" == found.output
    assert "Error: " in found.errors
    assert 0 != found.status


@pytest.mark.slow
def test_the_path_of_the_program_is_the_same_but_for_one_folder(tmp_path: Path) -> None:
    show = [sys.executable, "-c", "import json, sys; print(json.dumps(sys.path))"]
    for given in ({}, {"PYTHONPATH": ""}, {"PYTHONPATH": f"{tmp_path}/a::b"}):
        expected = json.loads(ended(show, bare() | given, tmp_path).output)
        for command in (running(*show), running(*running(*show))):
            found = json.loads(ended(command, bare() | given, tmp_path).output)
            [launch] = [path for path in found if path.endswith("launch")]
            found.remove(launch)
            assert expected == found
            assert {"sitecustomize"} == {Path(name).stem for name in os.listdir(launch)} - {"__pycache__"}


FORKING = f"""
import httpx, os, sys, threading
{CALL}
call(sys.argv[1])
end = threading.Event()
threads = [threading.Thread(target=end.wait) for _ in range(NUMBER)]
for thread in threads: thread.start()
for _ in range(2):
    child = os.fork()
    if not child: os._exit(0)
    os.waitpid(child, 0)
end.set()
"""


@pytest.mark.slow
@pytest.mark.parametrize("threads", [0, 1])
def test_a_program_that_forks_is_warned_of_threads_only_where_it_has_some(
    threads: int, gateway: Gateway, tmp_path: Path
) -> None:
    """Since Python 3.12: that of the writer is none of its own."""
    command = [sys.executable, app(tmp_path, FORKING.replace("NUMBER", str(threads))), gateway.url]
    plain, metered = ended(command, bare(), tmp_path), ended(running(*command), environment(tmp_path), tmp_path)
    warnings = [re.sub(r"pid=\d+", "", text.errors) for text in (plain, metered)]
    assert (0, "200\n", warnings[0]) == (metered.status, metered.output, warnings[1])
    assert ["success"] == rows(tmp_path)
    assert ("is multi-threaded" in warnings[0]) is (threads == 1 and sys.version_info >= (3, 12))


THEIRS = "import sys\nprint('theirs', __name__, __file__, flush=True)\nsys.theirs = sys.modules[__name__]\n"
# What ddtrace-run's and newrelic-admin's do: find the next one, with their own folder out of the way, and run it.
CHAINING = """
import os, sys
print("chaining", flush=True)
here = os.path.dirname(os.path.abspath(__file__))
place = sys.path.index(here)
del sys.path[place]
ours = sys.modules.pop("sitecustomize")
try:
    import sitecustomize
except ImportError:
    sys.modules["sitecustomize"] = ours
finally:
    sys.path.insert(place, here)
"""


def alone(*command: str) -> list[str]:
    """Return the command that runs another one with `pixelmeter run`, which itself has no sitecustomize."""
    return [sys.executable, "-I", *running(*command)[1:]]


def folder(path: Path, text: str) -> str:
    """Make a folder with a sitecustomize."""
    path.mkdir()
    (path / "sitecustomize.py").write_text(text)
    return str(path)


def test_a_sitecustomize_that_is_hidden_is_run_as_it_would_have_been(tmp_path: Path) -> None:
    show = "import sys, sitecustomize; print(sitecustomize is sys.theirs, sitecustomize.__spec__.name)"
    given = bare() | {"PYTHONPATH": folder(tmp_path / "theirs", THEIRS)}
    command = [sys.executable, "-c", show]
    expected = ended(command, given, tmp_path)
    assert expected.output.endswith("True sitecustomize\n")
    assert expected == ended(alone(*command), given, tmp_path)


@pytest.mark.parametrize("error", ["raise RuntimeError('mine')", "raise ImportError('mine')", "import zc_nowhere"])
def test_a_sitecustomize_that_fails_is_told_of_as_ever(error: str, tmp_path: Path) -> None:
    given = bare() | {"PYTHONPATH": folder(tmp_path / "theirs", error)}
    command = [sys.executable, "-c", "print('goes on')"]
    expected = ended(command, given, tmp_path)
    assert "sitecustomize" in expected.errors
    assert expected == ended(alone(*command), given, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("is_outside", [True, False], ids=["it runs pixelmeter", "pixelmeter runs it"])
def test_another_launcher_that_chains_works_together_with_it(
    is_outside: bool, gateway: Gateway, tmp_path: Path
) -> None:
    theirs = folder(tmp_path / "theirs", THEIRS)
    other = ["env", f"PYTHONPATH={folder(tmp_path / 'chaining', CHAINING)}:{theirs}"]
    inner = [sys.executable, app(tmp_path), gateway.url]
    if is_outside:
        command = [*other, *running(*inner)]
    else:
        # As launchers do: before what is there.
        command = running("sh", "-c", f'PYTHONPATH="{tmp_path}/chaining:$PYTHONPATH:{theirs}" exec "$@"', "sh", *inner)
    found = ended(command, environment(tmp_path), tmp_path)
    assert 3 == found.status
    started = found.output.partition("2\n")[0]
    assert f"chaining\ntheirs sitecustomize {theirs}/sitecustomize.py\n" == started[-len(started) // (1 + is_outside) :]
    assert ["success"] == rows(tmp_path)


FOUR_LIBRARIES = """
import asyncio, sys
import aiohttp, httpx, requests, urllib3

url, body = sys.argv[1] + "/images/generations", {"model": "meta/sam-3-1-image", "prompt": "a fox"}


async def over_aiohttp():
    async with aiohttp.ClientSession() as session, session.post(url, json=body) as answer:
        await answer.read()
        return answer.status


statuses = httpx.post(url, json=body).status_code, requests.post(url, json=body).status_code
print(*statuses, asyncio.run(over_aiohttp()), urllib3.request("POST", url, json=body).status)
"""


@pytest.mark.slow
@pytest.mark.parametrize("is_outside", [True, False], ids=["it runs pixelmeter", "pixelmeter runs it"])
def test_opentelemetrys_launcher_works_together_with_it(is_outside: bool, gateway: Gateway, tmp_path: Path) -> None:
    """It instruments the same libraries, and pixelmeter by its entry point; a call has one row none the less."""
    inner = [sys.executable, app(tmp_path, FOUR_LIBRARIES), gateway.url]
    command = [LAUNCHER, *running(*inner)] if is_outside else running(LAUNCHER, *inner)
    assert Ended(0, "200 200 200 200\n", "") == ended(command, environment(tmp_path, **SILENT), tmp_path)
    assert ["success"] * 4 == rows(tmp_path)


@pytest.mark.slow
def test_a_python_without_pixelmeter_runs_as_ever(tmp_path: Path) -> None:
    """Of another environment, and of an age that cannot even read pixelmeter's code."""
    fine = Ended(0, "fine\n", "")
    pythons = [path for name in ("2.7", "3.6", "3.8", "3.12") if (path := shutil.which(f"python{name}")) is not None]
    commands = [[*python.split(), "-c", "print('fine')"] for python in [*pythons, f"{sys.executable} -S"]]
    found = [
        ended(running(*command), bare(), tmp_path) for command in commands if ended(command, bare(), tmp_path) == fine
    ]
    assert found
    assert {fine} == set(found)


@pytest.mark.slow
def test_tags_of_the_run_are_those_of_its_attempts(gateway: Gateway, tmp_path: Path) -> None:
    command = [*running()[:-1], "--tag", "team=growth", "--", sys.executable, app(tmp_path), gateway.url]
    assert 3 == ended(command, environment(tmp_path), tmp_path).status
    assert ["success"] == rows(tmp_path)
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as ledger:
        assert [('{"team":"growth"}',)] == ledger.execute("SELECT tags FROM pixelmeter_attempts").fetchall()
