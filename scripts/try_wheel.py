"""Runs tests on the built wheel: those of the source distribution, once its `src` is deleted.

python -m scripts.try_wheel DIST FOLDER [ARGUMENT OF PYTEST]...

DIST has the wheel and the source distribution; FOLDER is where both are unpacked. The packages that tests need are
those of the Python that runs this.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
from collections.abc import Sequence
from pathlib import Path

_ROOMS = ("core", "cli", "gateways", "prices", "spool", "testing", "ledger/test_schema.py", "test_meter.py")
TESTS = ("-n", "4", "-m", "not slow", *(f"tests/{room}" for room in _ROOMS))
"""What needs no file of `src`, and all that the wheel has beside code: prices, profiles, migrations, dashboards."""

_WHERE = "import pixelmeter, pathlib; print(pathlib.Path(pixelmeter.__file__).parent)"


def main(dist: Path, folder: Path, tests: Sequence[str]) -> int:
    """Return the exit status of pytest."""
    [archive], [wheel] = dist.glob("pixelmeter-*.tar.gz"), dist.glob("pixelmeter-*.whl")
    shutil.unpack_archive(archive, folder)
    checkout = folder / archive.name.removesuffix(".tar.gz")
    project = tomllib.loads((checkout / "pyproject.toml").read_text())
    for name in ("src", *project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]):
        shutil.rmtree(checkout / name) if (checkout / name).is_dir() else (checkout / name).unlink()
    home = folder / "installed"
    venv.create(home, with_pip=False, symlinks=True)
    python = str(home / "bin" / "python")
    pip = [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--quiet", "--no-deps", str(wheel)], check=True)
    # Not PYTHONPATH, which tests set anew for processes of theirs. Links to a checkout have no effect from there.
    packages = Path(sysconfig.get_path("purelib", "venv", vars={"base": str(home)})) / "packages.pth"
    packages.write_text(f"{sysconfig.get_path('purelib')}\n", encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    where = subprocess.run([python, "-c", _WHERE], check=True, capture_output=True, text=True, env=environment, cwd="/")
    if not Path(where.stdout.strip()).is_relative_to(home):
        raise SystemExit(f"pixelmeter is not the wheel's: {where.stdout.strip()}")
    return subprocess.run([python, "-m", "pytest", "-q", *tests], cwd=checkout, env=environment).returncode


if __name__ == "__main__":
    dist, folder, *tests = sys.argv[1:]
    raise SystemExit(main(Path(dist).resolve(), Path(folder).resolve(), tests or TESTS))
