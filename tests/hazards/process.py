"""Programs that run in a Python of their own, as a user would run them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

__all__ = ["SOURCE", "run_python"]

SOURCE = str(Path(__file__).parents[2] / "src")


def run_python(code: str, *options: str, timeout: float = 30) -> subprocess.CompletedProcess[str]:
    """Run the code and return how it ended and what it printed."""
    environment = os.environ | {"PYTHONPATH": SOURCE}
    command = [sys.executable, *options, "-c", code]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout, check=False)
