"""The distributions of this checkout and environments that have them, made once for all workers of a run."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.project.environments import Environment, make, needed

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], object]], Path]:
    """Give a folder of a name, which the first worker that asks for it fills."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent

    def filled(name: str, fill: Callable[[Path], object]) -> Path:
        folder, done = root / name, root / f"{name}.done"
        with open(root / f"{name}.lock", "w", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                fill(folder)
                done.touch()
        return folder

    return filled


@pytest.fixture(scope="session")
def built(shared: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """A folder with the wheel and the source distribution of this checkout."""
    return shared("dist", _build)


@pytest.fixture(scope="session")
def wheel(built: Path) -> Path:
    return next(built.glob("*.whl"))


@pytest.fixture(scope="session")
def environment(wheel: Path, shared: Callable[[str, Callable[[Path], object]], Path]) -> Callable[..., Environment]:
    """Give an environment with the wheel and what some of its extras need, by their names."""

    def made(*extras: str) -> Environment:
        home = shared("-".join(("environment", *extras)), lambda folder: make(folder, wheel, extras))
        return Environment(home, frozenset(needed(wheel, extras)))

    return made


def _build(folder: Path) -> None:
    command = [sys.executable, "-m", "build", "--quiet", "--no-isolation", "--outdir", str(folder), str(CHECKOUT)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
