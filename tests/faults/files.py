"""Files that fail when they are told to."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from pixelmeter.system import SystemFiles


class FaultyFiles(SystemFiles):
    """The real files, but the operation number `at` (from 1) fails with an error, and those after it if it `lasts`.

    With a `short` append, half of the data is written. `heal()` ends the trouble; `failed` counts it.
    """

    def __init__(self, at: int = 0, error: int = 0, *, lasts: bool = False, short: bool = False) -> None:
        self.at = at
        self.error = error
        self.lasts = lasts
        self.short = short
        self.only: str | None = None
        self.operations = 0
        self.failed = 0

    def heal(self) -> None:
        """Let everything succeed from now on."""
        self.at = 0

    def break_(self, operation: str, error: int) -> None:
        """Let every operation of this name fail from now on."""
        self.only, self.error, self.at, self.lasts = operation, error, self.operations + 1, True

    def _fails(self, operation: str) -> bool:
        self.operations += 1
        if not self.at or self.operations < self.at or (self.operations > self.at and not self.lasts):
            return False
        if self.only not in {None, operation}:
            return False
        self.failed += 1
        return True

    def _count(self, operation: str) -> None:
        if self._fails(operation):
            raise OSError(self.error, os.strerror(self.error))

    def make_folder(self, path: str) -> None:
        self._count("make_folder")
        super().make_folder(path)

    def list(self, folder: str) -> Sequence[str]:
        self._count("list")
        return super().list(folder)

    def sizes(self, folder: str) -> Mapping[str, int]:
        self._count("sizes")
        return super().sizes(folder)

    def create(self, path: str) -> int:
        self._count("create")
        return super().create(path)

    def adopt(self, path: str) -> int | None:
        self._count("adopt")
        return super().adopt(path)

    def append(self, descriptor: int, data: bytes) -> int:
        if self._fails("append"):
            if not self.short:
                raise OSError(self.error, os.strerror(self.error))
            data = data[: len(data) // 2]
        return super().append(descriptor, data)

    def read(self, descriptor: int, offset: int, size: int) -> bytes:
        self._count("read")
        return super().read(descriptor, offset, size)

    def sync(self, descriptor: int) -> None:
        self._count("sync")
        super().sync(descriptor)

    def close(self, descriptor: int) -> None:
        # Linux has closed the file also when it reports an error.
        super().close(descriptor)
        self._count("close")

    def remove(self, path: str) -> None:
        self._count("remove")
        super().remove(path)


class UnpluggedFiles(SystemFiles):
    """The real files of a machine that can lose power: what was not forced to the disk is gone then."""

    def __init__(self) -> None:
        self._paths: dict[int, str] = {}
        self._synced: dict[str, int] = {}

    def unplug(self) -> None:
        """Lose the power."""
        for path, size in self._synced.items():
            if self.exists(path):
                os.truncate(path, size)

    def create(self, path: str) -> int:
        descriptor = super().create(path)
        self._paths[descriptor] = path
        self._synced[path] = 0
        return descriptor

    def extend(self, path: str) -> int | None:
        descriptor = super().extend(path)
        if descriptor is not None:
            self._paths[descriptor] = path
        return descriptor

    def sync(self, descriptor: int) -> None:
        super().sync(descriptor)
        self._synced[self._paths[descriptor]] = os.fstat(descriptor).st_size
