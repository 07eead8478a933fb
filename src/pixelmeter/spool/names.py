"""What the names of spool files say."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

__all__ = ["Named", "is_mark", "mark_name", "refused_name", "sorted_out"]

_PROCESS = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_MARK = ".dropped"
_SPOOLED = re.compile(rf"(?P<process>{_PROCESS})-[0-9]{{6,}}\.(spool|dropped)")
_REFUSED = re.compile(rf"{_PROCESS}-[0-9]{{6,}}\.(?P<reason>[A-Za-z0-9-]{{1,60}})\.refused")


class Named(NamedTuple):
    """The files of a folder that are ours, each list in the order in which its files began."""

    spooled: dict[str, list[str]]
    """By the process that wrote them; among them the empty ones that mark it as one that has dropped attempts."""
    refused: dict[str, list[str]]
    """By the reason why the ledger refuses what is in them."""


def sorted_out(names: Iterable[str]) -> Named:
    """Tell the spool files among the names of a folder, which are sorted."""
    found = Named({}, {})
    for name in names:
        if match := _SPOOLED.fullmatch(name):
            found.spooled.setdefault(match["process"], []).append(name)
        elif match := _REFUSED.fullmatch(name):
            found.refused.setdefault(match["reason"], []).append(name)
    return found


def mark_name(beginning: str) -> str:
    """Return the name of the file that says: of leases that its process has, a part is spent and in no row."""
    return f"{beginning}{_MARK}"


def is_mark(name: str) -> bool:
    """Return whether a file says that."""
    return name.endswith(_MARK)


def refused_name(beginning: str, reason: str) -> str:
    """Return the name of a file for attempts that are refused for a reason; it keeps the words before a semicolon."""
    words = re.findall("[A-Za-z0-9]+", reason.partition(";")[0])
    return f"{beginning}.{'-'.join(words)[:60].strip('-') or 'unknown'}.refused"
