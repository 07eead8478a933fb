"""Python code run as an ordinary user, also where the tests run as root, whom no file mode stops."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_BECOME_NOBODY = """
import os
import pixelmeter.ledger.engine, pixelmeter.ledger.sqlite, pixelmeter.ledger.writer, tests.factories
if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
"""


def run_unprivileged(code: str, url: str, folder: Path) -> str:
    """Run code with `url` defined, let into `folder` by the folders above it; return what it prints."""
    for parent in folder.parents:
        if not parent.stat().st_mode & 0o001:
            parent.chmod(0o711)
    root = Path(__file__).parents[2]
    program = f"{_BECOME_NOBODY}url = {url!r}\n{code}"
    environment = {**os.environ, "PYTHONPATH": f"{root}/src{os.pathsep}{root}"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert "" == done.stderr
    return done.stdout
