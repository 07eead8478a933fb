"""Each way in which Python starts a process: which of them are metered, and that no program notices.

docs/zero-code.md has this table for users.
"""

from __future__ import annotations

import re
import sys
import zipapp
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from pixelmeter.testing import Gateway
from tests.zero_code.programs import CALL, ROOT, Ended, app, bare, ended, environment, rows, running, shell

pytestmark = pytest.mark.slow

_MANY = f"""
import multiprocessing, sys
import httpx
{CALL}
if __name__ == "__main__":
    call(sys.argv[1])
    process = multiprocessing.get_context("METHOD").Process(target=call, args=(sys.argv[1],))
    process.start()
    process.join()
    sys.exit(process.exitcode)
"""
_AGAIN = f"""
import os, sys
import httpx
{CALL}
call(sys.argv[1])
if len(sys.argv) == 2:
    os.execv(sys.executable, [sys.executable, *sys.argv, "again"])
sys.exit(5)
"""
_PARENT = "import subprocess, sys\nsys.exit(subprocess.run(sys.argv[1:]).returncode)\n"


class Scene(NamedTuple):
    """Where a program is run: the folder it is in, a Python, and the URL of the gateway."""

    folder: Path
    python: str
    url: str

    @property
    def app(self) -> str:
        """A program that makes one call."""
        return app(self.folder)


def _options(*options: str) -> Callable[[Scene], list[str]]:
    return lambda scene: [scene.python, *options, scene.app, scene.url]


def _child(*around: str) -> Callable[[Scene], list[str]]:
    return lambda scene: [
        *(scene.python, app(scene.folder, _PARENT, "parent.py")),
        *(*around, scene.python, scene.app, scene.url),
    ]


def _workers(method: str) -> Callable[[Scene], list[str]]:
    return lambda scene: [scene.python, app(scene.folder, _MANY.replace("METHOD", method)), scene.url]


def _in_its_own_place(scene: Scene) -> list[str]:
    return [scene.python, app(scene.folder, _AGAIN), scene.url]


def _packed(scene: Scene) -> list[str]:
    folder = scene.folder / "packed"
    folder.mkdir(exist_ok=True)
    app(folder, Path(scene.app).read_text(), "__main__.py")
    zipapp.create_archive(folder, scene.folder / "app.pyz")
    return [scene.python, str(scene.folder / "app.pyz"), scene.url]


def _module(scene: Scene) -> list[str]:
    assert scene.app
    return [scene.python, "-m", "app", scene.url]


def _code(scene: Scene) -> list[str]:
    return [scene.python, "-c", Path(scene.app).read_text(), scene.url]


def _script(scene: Scene) -> list[str]:
    script = Path(app(scene.folder, f"#!{scene.python}\n{Path(scene.app).read_text()}", "fox"))
    script.chmod(0o755)
    return [str(script), scene.url]


def _from_a_shell(scene: Scene) -> list[str]:
    return ["sh", "-c", f"true && {shell(scene.python, scene.app, scene.url)}; exit $?"]


def _hiding(scene: Scene) -> list[str]:
    other = scene.folder / "other"
    other.mkdir(exist_ok=True)
    (other / "sitecustomize.py").write_text("print('theirs', flush=True)\n")
    path = f"{other}:$PYTHONPATH" if scene.python == sys.executable else str(other)
    return ["sh", "-c", f"PYTHONPATH={path} exec {shell(scene.python, scene.app, scene.url)}"]


class Context(NamedTuple):
    """A way to start a program, and whether it is metered by `pixelmeter run` and by `pixelmeter-auto`."""

    command: Callable[[Scene], list[str]]
    by_run: bool = True
    by_auto: bool = True
    calls: int = 1
    variables: tuple[tuple[str, str], ...] = ()


CONTEXTS = {
    "a program": Context(_options()),
    "-m": Context(_module),
    "-c": Context(_code),
    "a script": Context(_script),
    "a zip file": Context(_packed),
    "a program that starts itself again in its own place": Context(_in_its_own_place, calls=2),
    "from a shell": Context(_from_a_shell),
    "-s": Context(_options("-s")),
    "-P": Context(_options("-P")),
    "PYTHONSAFEPATH": Context(_options(), variables=(("PYTHONSAFEPATH", "1"),)),
    "PYTHONNOUSERSITE": Context(_options(), variables=(("PYTHONNOUSERSITE", "1"),)),
    "-I": Context(_options("-I"), by_run=False),
    "-E": Context(_options("-E"), by_run=False),
    "-S": Context(_options("-S"), by_run=False, by_auto=False),
    "another sitecustomize before": Context(_hiding, by_run=False),
    "a child": Context(_child()),
    "a child with an empty environment": Context(_child("env", "-i"), by_run=False, by_auto=False),
    "a child with a PYTHONPATH of its own": Context(_child("env", f"PYTHONPATH={ROOT}/src"), by_run=False),
    "multiprocessing: fork": Context(_workers("fork"), calls=2),
    "multiprocessing: spawn": Context(_workers("spawn"), calls=2),
    "multiprocessing: forkserver": Context(_workers("forkserver"), calls=2),
}
_QUICK = {
    "a program",
    "-I",
    "another sitecustomize before",
    "a child with a PYTHONPATH of its own",
    "multiprocessing: fork",
}
EACH = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in _QUICK else [pytest.mark.slow]) for name in CONTEXTS]
)
_bare: dict[str, Ended] = {}


def without(name: str, scene: Scene) -> Ended:
    """Return how a program ends without pixelmeter."""
    if name not in _bare:
        context = CONTEXTS[name]
        _bare[name] = ended(context.command(scene), bare() | dict(context.variables), scene.folder)
    return _bare[name]


def metered(gateway: Gateway, scene: Scene, context: Context) -> bool:
    """Return whether each call of a program has its row, rather than none; nothing between is right."""
    found = rows(scene.folder)
    assert context.calls == len(gateway.billing())
    assert found in ([], ["success"] * context.calls)
    return bool(found)


@EACH
def test_a_program_under_pixelmeter_run_is_metered_and_notices_nothing(
    name: str, gateway: Gateway, tmp_path: Path
) -> None:
    context = CONTEXTS[name]
    scene = Scene(tmp_path, sys.executable, gateway.url)
    plain = without(name, scene)
    gateway.reset()
    variables = environment(tmp_path, **dict(context.variables))
    assert plain == ended(running(*context.command(scene)), variables, tmp_path)
    assert context.by_run is metered(gateway, scene, context)


@EACH
def test_a_program_where_pixelmeter_auto_is_on_is_metered_and_notices_nothing(
    name: str, gateway: Gateway, tmp_path: Path, with_auto: str
) -> None:
    context = CONTEXTS[name]
    scene = Scene(tmp_path, with_auto, gateway.url)
    plain = without(name, scene)
    gateway.reset()
    variables = environment(tmp_path, PIXELMETER_AUTO="1", **dict(context.variables))
    assert plain == ended(context.command(scene), variables, tmp_path)
    assert context.by_auto is metered(gateway, scene, context)


@pytest.mark.parametrize(
    "variables", [{}, {"PIXELMETER_AUTO": "0"}, {"PIXELMETER_AUTO": "1", "PIXELMETER_DISABLED": "1"}]
)
def test_pixelmeter_auto_does_nothing_unless_it_is_asked_to(
    variables: dict[str, str], gateway: Gateway, tmp_path: Path, with_auto: str
) -> None:
    show = "import sys; print([name for name in sys.modules if 'pixelmeter' in name], len(sys.meta_path))"
    bare_one = ended([with_auto, "-S", "-c", "import sys; print(len(sys.meta_path))"], bare(), tmp_path)
    shown = ended([with_auto, "-c", show], environment(tmp_path, **variables), tmp_path)
    started = "PIXELMETER_DISABLED" in variables
    expected = r"\[.*'pixelmeter.auto'.*\] (\d)\n" if started else r"\[\] (\d)\n"
    found = re.fullmatch(expected, shown.output)
    assert (0, "") == (shown.status, shown.errors)
    assert found is not None, shown.output
    assert bare_one.output.strip() == found[1]
    scene = Scene(tmp_path, with_auto, gateway.url)
    assert 3 == ended(CONTEXTS["a program"].command(scene), environment(tmp_path, **variables), tmp_path).status
    assert not metered(gateway, scene, CONTEXTS["a program"])


def test_pixelmeter_run_does_nothing_where_it_is_disabled(gateway: Gateway, tmp_path: Path) -> None:
    scene = Scene(tmp_path, sys.executable, gateway.url)
    command = running(*CONTEXTS["a program"].command(scene))
    assert 3 == ended(command, environment(tmp_path, PIXELMETER_DISABLED="true"), tmp_path).status
    assert not metered(gateway, scene, CONTEXTS["a program"])
