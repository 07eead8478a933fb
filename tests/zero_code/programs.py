"""Programs of users that know nothing of pixelmeter, and how they are run with it and without."""

from __future__ import annotations

import os
import shlex
import sqlite3
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from pixelmeter.upkeep import adopt

__all__ = ["AUTO", "CALL", "ROOT", "Ended", "app", "bare", "ended", "environment", "rows", "settings", "site_packages"]

ROOT = Path(__file__).parents[2]
AUTO = ROOT / "packages" / "pixelmeter-auto"

CALL = """
def call(url):
    body = {"model": "meta/sam-3-1-image", "prompt": "a fox"}
    answer = httpx.post(f"{url}/images/generations", json=body)
    print(answer.status_code, flush=True)
"""
# Where a program finds its libraries without the site module, too.
_APP = f"""
import sys
sys.path += [{sysconfig.get_path("purelib")!r}]
import httpx
{CALL}
if __name__ == "__main__":
    print(len(sys.argv), flush=True)
    call(sys.argv[1])
    print("and an error", file=sys.stderr)
    sys.exit(3)
"""


@dataclass(frozen=True)
class Ended:
    """How a program ended, and what it printed."""

    status: int
    output: str
    errors: str


def site_packages(home: Path) -> Path:
    """Return where an environment has its packages."""
    return Path(sysconfig.get_path("purelib", "venv", {"base": str(home), "platbase": str(home)}))


def app(folder: Path, text: str = _APP, name: str = "app.py") -> str:
    """Write a program into a folder and return its path; without a text it makes one call and ends with status 3."""
    path = folder / name
    path.write_text(text)
    return str(path)


def settings(folder: Path) -> dict[str, str]:
    """Return the variables of a ledger in a folder, and of a gateway on loopback."""
    return {
        "PIXELMETER_DATABASE_URL": f"sqlite:///{folder}/ledger.db",
        "PIXELMETER_GATEWAYS": "127.0.0.1:*=aigateway",
    }


def bare() -> dict[str, str]:
    """Return this environment without what is pixelmeter's or Python's."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PIXELMETER_", "PYTHON"))}


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Return an environment with the settings of a ledger in a folder."""
    return {**bare(), **settings(folder), **more}


def ended(
    command: Sequence[str],
    variables: Mapping[str, str],
    folder: Path,
    *,
    given: str | None = None,
    timeout: float = 100,
) -> Ended:
    """Run a command in a folder and return how it ended."""
    done = subprocess.run(
        command, env=variables, cwd=folder, input=given, capture_output=True, text=True, timeout=timeout, check=False
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def running(*command: str) -> list[str]:
    """Return the command that runs another one with `pixelmeter run`."""
    return [sys.executable, "-m", "pixelmeter", "run", "--", *command]


def shell(*words: str) -> str:
    """Return words as a shell reads them."""
    return shlex.join(words)


def rows(folder: Path) -> list[str]:
    """Return the outcomes of all attempts in the ledger of a folder, with what dead processes left; [] without one."""
    if not (folder / "ledger.db").exists() and not (folder / "ledger.db.spool").exists():
        return []
    adopt(f"sqlite:///{folder}/ledger.db")
    with closing(sqlite3.connect(folder / "ledger.db")) as ledger:
        return [outcome for (outcome,) in ledger.execute("SELECT outcome FROM pixelmeter_attempts")]
