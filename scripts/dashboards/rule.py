"""Recording rules, alerts and their groups, as data that is not tied to a file format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

__all__ = ["Alert", "Group", "Recording", "Severity"]

Severity = Literal["critical", "warning", "info"]


@dataclass(frozen=True, kw_only=True)
class Recording:
    """An expression that Prometheus evaluates ahead, under a name of the form level:metric:operations."""

    name: str
    expression: str


@dataclass(frozen=True, kw_only=True)
class Alert:
    """A condition that somebody should hear of."""

    name: str
    expression: str
    """PromQL; each series that it returns is an alert of its own."""
    wait: str
    """How long the condition must hold, as a Prometheus duration; "0s" is at once."""
    severity: Severity
    """`critical` is worth a night's sleep, `warning` is for the working day, `info` is good to know."""
    summary: str
    """One sentence that is always the same."""
    description: str
    """What exactly: a Prometheus template over `$labels` and `$value`."""
    runbook_url: str
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    """Labels beside `severity`."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Rules that are evaluated one after another."""

    name: str
    rules: tuple[Recording | Alert, ...]

    @property
    def alerts(self) -> tuple[Alert, ...]:
        """The alerts among the rules."""
        return tuple(rule for rule in self.rules if isinstance(rule, Alert))
