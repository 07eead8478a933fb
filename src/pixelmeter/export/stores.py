"""Where exports go: a stream, a file, a folder. A name has its content whole, or is not there."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
from collections.abc import Generator, Mapping
from typing import BinaryIO, Protocol

from pixelmeter.errors import ExportError
from pixelmeter.system import has_locks, lock, unlock

__all__ = ["STATE", "LocalFolder", "Store", "folder", "is_folder", "stream", "writing"]

STATE = "_pixelmeter"
"""The folder that remembers what was exported. Spark, Trino, DuckDB and pyarrow pass over a name that begins so."""

_PARTIAL = ".partial"
_ADVICE = {
    errno.ENOSPC: "make room, or give another target",
    errno.EDQUOT: "make room, or give another target",
    errno.EACCES: "give a target that you may write to",
    errno.EPERM: "give a target that you may write to",
    errno.EROFS: "give a target that you may write to",
    errno.ENOENT: "make its folder first",
    errno.EISDIR: "end the name of a folder with /",
}


class Store(Protocol):
    """A folder; names in it are relative and have `/` between their parts."""

    place: str
    """Its name for people."""

    def staged(self, name: str) -> str:
        """Return the path of a local file for what is to be published under a name."""
        ...

    def publish(self, name: str) -> int:
        """Put what is staged in its place, at once and whole; return its bytes."""
        ...

    def discard(self) -> None:
        """Forget what is staged and was not published."""
        ...

    def sizes(self, prefix: str) -> Mapping[str, int]:
        """Return the bytes of each file whose name begins so; the prefix names the folder too."""
        ...

    def remove(self, name: str) -> None:
        """Remove a file, which need not be there."""
        ...

    def read(self, name: str) -> bytes | None:
        """Return the content of a small file; None where there is none."""
        ...

    def write(self, name: str, content: bytes) -> None:
        """Write a small file, at once and whole."""
        ...


def is_folder(target: str) -> bool:
    """Return whether a target is a folder rather than a file."""
    return target.startswith("s3://") or target.endswith(("/", os.sep)) or os.path.isdir(target)


@contextlib.contextmanager
def writing(place: str) -> Generator[None]:
    """Turn what the system says of a file that cannot be written into an ExportError that says what to do."""
    try:
        yield
    except OSError as error:
        advice = _ADVICE.get(error.errno or 0)
        told = error.strerror or str(error)
        raise ExportError(f"cannot write {place}: {told}" + (f"; {advice}" if advice else "")) from None


@contextlib.contextmanager
def stream(target: str) -> Generator[BinaryIO]:
    """Give standard output for "-", else a file that appears under its name when the block has ended well.

    ExportError where it cannot be written, and nothing is left of it then.
    """
    if target == "-":
        sys.stdout.flush()
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    # Behind a link, the file that it leads to; a device or a pipe is written to as it is.
    path = os.path.realpath(target)
    with writing(target):
        if os.path.exists(path) and not stat.S_ISREG(os.stat(path).st_mode):
            with open(path, "wb") as file:
                yield file
            return
        partial = _partial(path, f".{os.getpid()}")
        try:
            with open(partial, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
        finally:
            with contextlib.suppress(OSError):
                os.remove(partial)


@contextlib.contextmanager
def folder(path: str) -> Generator[LocalFolder]:
    """Give a folder, made where it is not there yet, that no other export writes to meanwhile.

    ExportError where it cannot be written, or another export is at it.
    """
    with writing(path):
        os.makedirs(os.path.join(path, STATE), exist_ok=True)
        descriptor = os.open(os.path.join(path, STATE, "lock"), os.O_RDWR | os.O_CREAT, 0o666)
    try:
        with writing(path):
            if has_locks() and not lock(descriptor):
                raise ExportError(f"another export is writing to {path}: wait for its end, or give another folder")
        store = LocalFolder(path)
        try:
            yield store
        finally:
            store.discard()
            unlock(descriptor)
    finally:
        os.close(descriptor)


class LocalFolder:
    """A folder of this machine."""

    def __init__(self, path: str) -> None:
        self.place = path
        self._path = path
        self._staged: set[str] = set()

    def staged(self, name: str) -> str:
        path = self._at(name)
        with writing(path):
            os.makedirs(os.path.dirname(path), exist_ok=True)
        self._staged.add(name)
        return _partial(path)

    def publish(self, name: str) -> int:
        path = self._at(name)
        with writing(path):
            with open(_partial(path), "rb+") as file:
                os.fsync(file.fileno())
                size = os.fstat(file.fileno()).st_size
            os.replace(_partial(path), path)
        self._staged.discard(name)
        return size

    def discard(self) -> None:
        for name in self._staged:
            with contextlib.suppress(OSError):
                os.remove(_partial(self._at(name)))
        self._staged.clear()

    def sizes(self, prefix: str) -> Mapping[str, int]:
        parent, _, start = prefix.rpartition("/")
        if not os.path.isdir(self._at(parent)):
            return {}
        with writing(self.place), os.scandir(self._at(parent)) as entries:
            return {f"{parent}/{one.name}": one.stat().st_size for one in entries if one.name.startswith(start)}

    def remove(self, name: str) -> None:
        with writing(self._at(name)), contextlib.suppress(FileNotFoundError):
            os.remove(self._at(name))

    def read(self, name: str) -> bytes | None:
        try:
            with open(self._at(name), "rb") as file:
                return file.read()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ExportError(f"cannot read {self._at(name)}: {error.strerror}") from None

    def write(self, name: str, content: bytes) -> None:
        path = self.staged(name)
        with writing(path):
            with open(path, "wb") as file:
                file.write(content)
            # Not forced to the disk: where power fails, it is empty and counts for nothing.
            os.replace(path, self._at(name))
        self._staged.discard(name)

    def _at(self, name: str) -> str:
        return os.path.join(self._path, *name.split("/"))


def _partial(path: str, own: str = "") -> str:
    """Return the name of a file that is not whole yet: readers of folders pass over one that begins with a point."""
    parent, name = os.path.split(path)
    return os.path.join(parent, f".{name}{own}{_PARTIAL}")
