"""A relative ledger is the one in the folder where `Meter()` was made, wherever the program goes afterwards."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from pixelmeter.meter import Meter
from pixelmeter.testing import Gateway
from pixelmeter.upkeep import adopt
from tests.hazards.process import run_python

pytestmark = pytest.mark.slow

PRELUDE = """
import os, multiprocessing, pathlib, shutil, signal, sys, threading
import httpx
import pixelmeter
GATEWAYS = {{"127.0.0.1:*": "aigateway"}}
def call(meter):
    with pixelmeter.instrument(httpx.Client(), meter) as client:
        body = {{"model": "black-forest-labs/flux-2-klein-9b", "prompt": "p"}}
        assert client.post("{url}/images/generations", json=body).status_code == 200
def die():
    os.kill(os.getpid(), signal.SIGKILL)
os.chdir({home!r})
HOME, AWAY = {home!r}, {away!r}
"""

MADE = "meter = pixelmeter.Meter({arguments}gateways=GATEWAYS)\n"

# Each makes seven calls, somewhere in between it changes the folder, and then it dies.
PROGRAMS = {
    "before the first call": "os.chdir(AWAY)\nfor _ in range(7): call(meter)\nassert meter.flush(20)\ndie()",
    "and dies before a flush": "os.chdir(AWAY)\nfor _ in range(7): call(meter)\ndie()",
    "to the root": "os.chdir('/')\nfor _ in range(7): call(meter)\nassert meter.flush(20)\ndie()",
    "between calls": (
        "for _ in range(3): call(meter)\nassert meter.flush(20)\nos.chdir(AWAY)\n"
        "for _ in range(2): call(meter)\nassert meter.flush(20)\nos.chdir('/')\nfor _ in range(2): call(meter)\ndie()"
    ),
    "after a close": (
        "for _ in range(3): call(meter)\nassert meter.close(20)\nos.chdir(AWAY)\nfor _ in range(4): call(meter)\n"
        "assert meter.close(20)\ndie()"
    ),
    "in a thread": (
        "def run():\n    os.chdir(AWAY)\n    for _ in range(7): call(meter)\n"
        "thread = threading.Thread(target=run)\nthread.start()\nthread.join()\nassert meter.flush(20)\ndie()"
    ),
    "in a forked child": (
        "call(meter)\nassert meter.flush(20)\nchild = os.fork()\nif child == 0:\n    os.chdir(AWAY)\n"
        "    for _ in range(5): call(meter)\n    os._exit(0 if meter.flush(20) else 1)\n"
        "assert os.waitpid(child, 0)[1] == 0\ncall(meter)\ndie()"
    ),
    "into a folder that goes": (
        "os.mkdir('gone')\nos.chdir('gone')\nos.rmdir(HOME + '/gone')\nfor _ in range(7): call(meter)\n"
        "assert meter.flush(20)\ndie()"
    ),
}

URLS = {"the default": "", "a file": "'sqlite:///ledger.db', ", "a folder below": "'sqlite:///data/ledger.db', "}


def rows(path: Path) -> Counter[str]:
    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute("SELECT outcome FROM pixelmeter_attempts").fetchall()
    return Counter(outcome for (outcome,) in found)


def start(body: str, gateway: Gateway, folder: Path, arguments: str = "") -> int:
    """Run a program that begins in `home`; return how it ended."""
    for name in ("home/data", "away"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    text = PRELUDE.format(url=gateway.url, home=str(folder / "home"), away=str(folder / "away"))
    ended = run_python(text + MADE.format(arguments=arguments) + body, timeout=60)
    assert "Traceback" not in ended.stderr, ended.stderr
    return ended.returncode


# What these do, the others do too, each in its place; so do those between calls, with the other URL.
REPEATED = {"and dies before a flush", "to the root", "in a thread", "a file"}


@pytest.mark.parametrize(
    ("way", "url"),
    [
        pytest.param(
            way,
            url,
            marks=[pytest.mark.slow] if REPEATED & {way, url} or (way, url) == ("between calls", "the default") else [],
        )
        for way, url in (
            *((way, "the default") for way in PROGRAMS),
            *(("between calls", url) for url in list(URLS)[1:]),
        )
    ],
)
def test_a_program_that_changes_its_folder_and_is_killed_has_one_ledger(
    gateway: Gateway, tmp_path: Path, way: str, url: str
) -> None:
    died = start(PROGRAMS[way], gateway, tmp_path, URLS[url])
    again = start(
        "os.chdir(AWAY)\nassert meter.flush(20)\ncall(meter)\nassert meter.close(20)", gateway, tmp_path, URLS[url]
    )

    name = {"the default": "pixelmeter.db", "a file": "ledger.db", "a folder below": "data/ledger.db"}[url]
    assert (-signal.SIGKILL, 0) == (died, again)
    assert 8 == len(gateway.billing())
    assert {"success": 8} == rows(tmp_path / "home" / name)
    assert [] == list((tmp_path / "away").iterdir())
    assert [] == list((tmp_path / "home").rglob("*.spool/*.spool"))


def test_a_child_with_an_interpreter_of_its_own_has_the_ledger_of_its_own_meter(
    gateway: Gateway, tmp_path: Path
) -> None:
    (tmp_path / "home").mkdir()
    program = tmp_path / "program.py"
    text = PRELUDE.format(url=gateway.url, home=str(tmp_path / "home"), away=str(tmp_path / "home"))
    program.write_text(
        text + "def child(folder):\n    os.chdir(folder)\n    meter = pixelmeter.Meter(gateways=GATEWAYS)\n"
        "    os.chdir('/')\n    call(meter)\n    assert meter.close(20)\n"
        "if __name__ == '__main__':\n    meter = pixelmeter.Meter(gateways=GATEWAYS)\n    os.chdir('/')\n"
        "    call(meter)\n    os.mkdir(HOME + '/child')\n"
        "    started = multiprocessing.get_context('spawn').Process(target=child, args=(HOME + '/child',))\n"
        "    started.start()\n    started.join()\n    assert started.exitcode == 0\n    assert meter.close(20)\n"
    )

    ended = run_python(f"import runpy; runpy.run_path({str(program)!r}, run_name='__main__')", timeout=60)

    assert (0, "") == (ended.returncode, ended.stderr)
    assert {"success": 1} == rows(tmp_path / "home" / "pixelmeter.db")
    assert {"success": 1} == rows(tmp_path / "home" / "child" / "pixelmeter.db")


def test_a_ledger_behind_a_link_stays_the_same_when_the_link_is_moved(gateway: Gateway, tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    (tmp_path / "current").symlink_to("first")
    link = str(tmp_path / "current")
    url = f"sqlite:///{link}/pixelmeter.db"
    body = (
        f"meter = pixelmeter.Meter({url!r}, gateways=GATEWAYS)\n"
        f"os.unlink({link!r})\nos.symlink('second', {link!r})\ncall(meter)\nassert meter.close(20)"
    )

    assert 0 == start(body, gateway, tmp_path)
    assert {"success": 1} == rows(tmp_path / "first" / "pixelmeter.db")
    assert [] == list((tmp_path / "second").iterdir())


def test_status_and_the_url_of_a_meter_stay_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, away = tmp_path / "home", tmp_path / "away"
    for folder in (home, away):
        folder.mkdir()
    monkeypatch.chdir(home)
    with Meter("sqlite:///a%25b.db", spool_dir="spools") as meter:
        before = meter.status()["database_url"], meter.status()["spool_dir"], meter.database_url, repr(meter)
        monkeypatch.chdir(away)
        after = meter.status()["database_url"], meter.status()["spool_dir"], meter.database_url, repr(meter)

    assert before == after
    assert f"sqlite:///{home}/a%25b.db" == before[0] == before[2]
    assert before[1].startswith(f"{home}/spools/")


def test_what_waits_is_taken_in_by_a_command_of_another_folder_that_names_the_ledger(
    gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start("os.chdir(AWAY)\ncall(meter)\ndie()", gateway, tmp_path)
    monkeypatch.chdir("/")

    assert 1 == adopt(f"sqlite:///{tmp_path}/home/pixelmeter.db")
    assert {"success": 1} == rows(tmp_path / "home" / "pixelmeter.db")


def test_settings_with_relative_paths_are_those_of_the_folder_where_the_meter_was_made(
    gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "prices.toml").write_text(
        'gateway = "mine"\n[[price]]\nmodel = "black-forest-labs/flux-2-klein-9b"\nusd_per_image = "0.5"\n'
    )
    (home / "mine.toml").write_text('id = "mine"\n[match]\nhosts = ["127.0.0.1:*"]\n')
    monkeypatch.setenv("PIXELMETER_PRICES", "prices.toml")
    monkeypatch.setenv("PIXELMETER_PROFILES", " mine.toml ")
    monkeypatch.setenv("PIXELMETER_SPOOL_DIR", "spools")

    body = "os.chdir('/')\ncall(meter)\ndie()"
    text = PRELUDE.format(url=gateway.url, home=str(home), away=str(tmp_path)) + "meter = pixelmeter.Meter()\n" + body
    assert -signal.SIGKILL == run_python(text).returncode
    monkeypatch.chdir(home)
    assert 1 == adopt()
    with closing(sqlite3.connect("pixelmeter.db")) as connection:
        [(gateway_name, cost)] = connection.execute("SELECT gateway, image_cost FROM pixelmeter_attempts").fetchall()

    assert ("mine", 500_000_000) == (gateway_name, cost)
    assert ["mine.toml", "pixelmeter.db", "pixelmeter.db.lock", "prices.toml", "spools"] == sorted(os.listdir(home))
