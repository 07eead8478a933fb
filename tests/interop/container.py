"""A process with what a container gives it: a read-only root, a folder to write to, a user without name and home."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tests.conftest import unavailable

__all__ = ["contained"]

_ROOT = Path(__file__).parents[2]
_USER = "10001"
_TMP = Path("/tmp")
# The folder is new in its own namespace, and gone with the last process in it, as an emptyDir is with its pod.
_SCRIPT = """
set -e
mount --make-rprivate /
mount --rbind / "$1"
mount -o remount,bind,ro "$1"
mount -t tmpfs -o mode=755 tmpfs "$1/var/lib"
mkdir -m 777 "$1/var/lib/pixelmeter"
mount -t tmpfs -o mode=1777 tmpfs "$1/tmp"
{bare}
root=$1
shift
exec chroot "$root" setpriv --reuid={user} --regid={user} --clear-groups --no-new-privs "$@"
"""


def contained(command: Sequence[str], environment: Mapping[str, str], root: Path, log: Path) -> subprocess.Popen[bytes]:
    """Start a Python module as in a container whose emptyDir is /var/lib/pixelmeter; skip where that cannot be had."""
    if os.geteuid() != 0 or not all(shutil.which(name) for name in ("unshare", "setpriv", "chroot")):
        unavailable("only root can make what a container sees", "run the tests as root, with util-linux installed")
    root.mkdir()
    given = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": f"{_ROOT / 'examples'}:{_ROOT / 'src'}",
        "PYTHONDONTWRITEBYTECODE": "1",
        **environment,
    }
    steps = _SCRIPT.format(user=_USER, bare="\n".join(_laid_bare()))
    script = ["unshare", "--mount", "sh", "-c", steps, "sh", str(root)]
    tried = subprocess.run([*script, sys.executable, "-c", "import fastapi_app"], env=given, capture_output=True)
    if tried.returncode != 0:
        unavailable(f"this system gives no namespaces: {tried.stderr.decode()[-200:]}", "run the tests elsewhere")
    with log.open("wb") as output:
        return subprocess.Popen(
            [*script, sys.executable, "-m", *command], env=given, cwd="/", stdout=output, stderr=subprocess.STDOUT
        )


def _laid_bare() -> Iterator[str]:
    """Yield the steps that let everybody at interpreter and checkout, in a closed home or behind the new /tmp."""
    there = {_TMP}
    for needed in (Path(sys.base_prefix), Path(sys.prefix), _ROOT):
        path = needed.resolve()
        closed = [above for above in reversed(path.parents) if not above.stat().st_mode & 0o001]
        over = _TMP if path.is_relative_to(_TMP) else closed[0] if closed else None
        if over is None:
            continue
        if over not in there:
            there.add(over)
            yield f'mount -t tmpfs -o mode=755 tmpfs "$1"{shlex.quote(str(over))}'
        inside = shlex.quote(str(path))
        yield f'mkdir -p "$1"{inside}; mount --rbind {inside} "$1"{inside}'
