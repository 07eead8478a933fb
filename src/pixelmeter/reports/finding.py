"""`Finding`: what doctor says of one thing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Finding"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What is said of one thing that was looked at."""

    check: str
    state: Literal["ok", "warning", "problem"]
    found: str
    advice: str = ""
