"""Every script that `make` or a maintainer starts finds what it imports."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.project.conftest import CHECKOUT

pytestmark = pytest.mark.slow

FILES = sorted(file.relative_to(CHECKOUT) for file in (CHECKOUT / "scripts").rglob("*.py"))
MODULES = [".".join(file.with_suffix("").parts) for file in FILES if file.stem != "__init__"]
EACH = """
import importlib, sys
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except Exception as error:
        print(f"{name}: {error!r}")
"""


def test_every_script_can_be_imported() -> None:
    assert {"scripts.render.page", "scripts.make_dashboards", "scripts.try_wheel"} <= set(MODULES)
    done = subprocess.run(
        [sys.executable, "-c", EACH, *MODULES], cwd=CHECKOUT, capture_output=True, text=True, check=True
    )
    assert "" == done.stdout
