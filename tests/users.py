"""Work done as another user of this machine, for tests that run as root."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import pytest

__all__ = ["NOBODY", "SOMEBODY", "as_user", "needs_root"]

NOBODY = 65534
SOMEBODY = 12345
"""A user that no file of this machine names, as in a container."""
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to others")
T = TypeVar("T")


def as_user(
    user: int, work: Callable[[], T], folder: Path, *, group: int | None = None, groups: Sequence[int] = ()
) -> T:
    """Return what the work returns in a child process of the user, or raise what it raises.

    The user is let into `folder` by the folders above it; a test that runs pytest shuts the one of all its runs again.
    """
    while True:
        for parent in folder.parents:
            if not parent.stat().st_mode & 0o001:
                parent.chmod(0o711)
        try:
            return _in_child(user, work, user if group is None else group, groups)
        except PermissionError:
            if all(parent.stat().st_mode & 0o001 for parent in folder.parents):
                raise


def _in_child(user: int, work: Callable[[], T], group: int, groups: Sequence[int]) -> T:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups(list(groups))
            os.setgid(group)
            os.setuid(user)
            told: tuple[bool, object] = (True, work())
        except BaseException as error:
            told = (False, error)
        os.write(writing, pickle.dumps(told))
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        succeeded, result = pickle.load(pipe)
    os.waitpid(child, 0)
    if not succeeded:
        raise result
    answer: T = result
    return answer
