"""A Python environment that has `pixelmeter-auto`, without a wheel being built for each test."""

from __future__ import annotations

import shutil
import sysconfig
import venv
from pathlib import Path

import pytest

from tests.zero_code.programs import AUTO, ROOT, site_packages


@pytest.fixture(scope="session")
def with_auto(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The Python of an environment with the files of `pixelmeter-auto`, this checkout and its libraries."""
    home = tmp_path_factory.mktemp("with-auto")
    venv.create(home, with_pip=False, symlinks=True)
    there = site_packages(home)
    for name in ("pixelmeter_auto.py", "pixelmeter_auto.pth", "pixelmeter_auto.start"):
        shutil.copy(AUTO / name, there)
    add_libraries(there)
    return str(home / "bin" / "python")


def add_libraries(there: Path, *, checkout: bool = True) -> None:
    """Let an environment use the libraries of this one, and this checkout."""
    lines = [str(ROOT / "src")] if checkout else []
    # By its name before pixelmeter_auto.pth, as what an installer writes for a folder is.
    (there / "_libraries.pth").write_text("\n".join([*lines, sysconfig.get_path("purelib")]) + "\n")
