"""Environments that have what the wheel asks for and nothing else, linked from the one that runs the tests."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from email import message_from_string
from email.message import Message
from importlib.metadata import distribution
from pathlib import Path
from zipfile import ZipFile

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


@dataclass(frozen=True, slots=True)
class Environment:
    """A Python with packages of its own."""

    home: Path
    packages: frozenset[str]
    """What is installed besides pixelmeter, in canonical names."""

    @property
    def python(self) -> str:
        return str(self.home / "bin" / "python")

    @property
    def size(self) -> int:
        """The bytes of the packages and of pixelmeter, without what Python compiles."""
        found = (path for path in site_packages(self.home).rglob("*") if path.is_file() and path.suffix != ".pyc")
        return sum(path.stat().st_size for path in found)

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run Python with arguments, away from the checkout and in an environment without settings."""
        return subprocess.run(
            [self.python, *arguments],
            cwd=self.home,
            env={**plain_environment(), **variables},
            capture_output=True,
            text=True,
        )

    def pixelmeter(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run the command as its installation has it."""
        return self.run(str(self.home / "bin" / "pixelmeter"), *arguments, **variables)


def plain_environment() -> dict[str, str]:
    """Return the environment without what steers Python and pixelmeter."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PIXELMETER_"))}


def site_packages(home: Path) -> Path:
    return Path(sysconfig.get_path("purelib", "venv", {"base": str(home)}))


def make(home: Path, wheel: Path, extras: Sequence[str]) -> Environment:
    """Make an environment in a folder that has the wheel, what it needs, and what these of its extras need."""
    venv.create(home, with_pip=False, symlinks=True)
    packages = frozenset(needed(wheel, extras))
    for name in packages:
        _link(name, site_packages(home))
    pip = [sys.executable, "-m", "pip", "--python", str(home / "bin" / "python"), "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--quiet", "--no-deps", "--no-compile", str(wheel)], check=True)
    return Environment(home, packages)


def metadata(wheel: Path) -> Mapping[str, Sequence[str]]:
    """Return what a wheel says of itself: every value of each field."""
    message = _message(wheel)
    return {field: [str(value) for value in message.get_all(field, [])] for field in set(message)}


def description(wheel: Path) -> str:
    """Return the page that an index shows for a wheel."""
    text: object = _message(wheel).get_payload()
    return str(text)


def needed(wheel: Path, extras: Sequence[str]) -> set[str]:
    """Return the canonical names of all packages that pip would install beside a wheel, here and now."""
    found: set[str] = set()
    wanted = list(_applying(metadata(wheel)["Requires-Dist"], extras))
    while wanted:
        requirement = wanted.pop()
        name = canonicalize_name(requirement.name)
        if name == "pixelmeter":
            wanted += _applying(metadata(wheel)["Requires-Dist"], sorted(requirement.extras))
            continue
        lines = distribution(name).requires or []
        if name not in found:
            found.add(name)
            wanted += _applying(lines, ())
        if requirement.extras:
            wanted += [one for one in _applying(lines, sorted(requirement.extras)) if one.name not in found]
    return found


def _message(wheel: Path) -> Message:
    with ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return message_from_string(archive.read(name).decode())


def _applying(lines: Sequence[str], extras: Sequence[str]) -> Iterator[Requirement]:
    for line in lines:
        requirement = Requirement(line)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            yield requirement


def _link(name: str, folder: Path) -> None:
    root = sysconfig.get_path("purelib")
    for file in distribution(name).files or ():
        path = Path(str(file))
        if path.is_absolute() or ".." in path.parts or "__pycache__" in path.parts:
            continue
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        os.symlink(Path(root, path), target)
