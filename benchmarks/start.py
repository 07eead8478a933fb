"""CPU that a program takes to start, and to make its first client, where it is metered without code and where not."""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import venv
from collections.abc import Mapping
from pathlib import Path

import opentelemetry.instrumentation.auto_instrumentation as opentelemetry_launcher

ROOT = Path(__file__).parents[1]
PROGRAMS = {
    "pass": "pass",
    "import httpx": "import httpx",
    "and make a client": "import httpx; httpx.Client(verify=False).close()",
}
TARGET = 5.0


def with_auto(home: Path) -> str:
    """Make an environment that has pixelmeter-auto, this checkout and its libraries; return its Python."""
    venv.create(home, with_pip=False, symlinks=True)
    there = Path(sysconfig.get_path("purelib", "venv", {"base": str(home), "platbase": str(home)}))
    (there / "_libraries.pth").write_text(f"{ROOT / 'src'}\n{sysconfig.get_path('purelib')}\n")
    for file in (ROOT / "packages" / "pixelmeter-auto").glob("pixelmeter_auto.*"):
        (there / file.name).write_bytes(file.read_bytes())
    return str(home / "bin" / "python")


def milliseconds(python: str, program: str, variables: Mapping[str, str]) -> float:
    """Return the CPU of one run, user and system."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([python, "-c", program], env=variables, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PIXELMETER_"))}
    plain |= {f"OTEL_{name}_EXPORTER": "none" for name in ("TRACES", "METRICS", "LOGS")}
    launch = str(ROOT / "src" / "pixelmeter" / "launch")
    with tempfile.TemporaryDirectory() as folder:
        auto = with_auto(Path(folder))
        plain["PIXELMETER_DATABASE_URL"] = f"sqlite:///{folder}/ledger.db"
        ways = {
            "as it is": (sys.executable, plain),
            "pixelmeter run": (sys.executable, plain | {"PYTHONPATH": launch}),
            "pixelmeter-auto, off": (auto, plain),
            "pixelmeter-auto, on": (auto, plain | {"PIXELMETER_AUTO": "1"}),
            "opentelemetry-instrument": (
                sys.executable,
                plain | {"PYTHONPATH": str(Path(opentelemetry_launcher.__file__).parent)},
            ),
        }
        print(f"CPU ms, medians of {rounds} runs" + "".join(f"{name:>20}" for name in PROGRAMS))
        taken: dict[tuple[str, str], list[float]] = {}
        for number in range(rounds + 1):
            for way, (python, variables) in ways.items():
                for name, program in PROGRAMS.items():
                    spent = milliseconds(python, program, variables)
                    if number:  # the first one compiles
                        taken.setdefault((way, name), []).append(spent)
        for way in ways:
            print(f"{way:<28}" + "".join(f"{statistics.median(taken[way, name]):>20.1f}" for name in PROGRAMS))
    print(f"target for the start of a program that imports nothing: at most {TARGET:.0f} ms more than as it is")


if __name__ == "__main__":
    main()
