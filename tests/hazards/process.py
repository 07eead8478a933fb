"""Programs that run in a Python of their own, as a user would run them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

__all__ = ["environment", "run_python"]


def environment() -> dict[str, str]:
    """Return this process's environment, with the library in reach."""
    return os.environ | {"PYTHONPATH": str(Path(__file__).parents[2] / "src")}


def run_python(code: str, *options: str, timeout: float = 100) -> subprocess.CompletedProcess[str]:
    """Run the code and return how it ended and what it printed."""
    command = [sys.executable, *options, "-c", code]
    return subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=timeout, check=False)
