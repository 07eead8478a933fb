"""Where alerts begin: every number that a team may want to change, in one place."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from pixelmeter.core.metrics import DURATION_BUCKETS
from pixelmeter.errors import ConfigError

__all__ = ["Thresholds"]

_RUNBOOKS = "https://github.com/pixelmeter/pixelmeter/blob/main/docs/runbooks"
# An objective this close to 1 allows no failure, and the burn of what it allows is a division by nothing.
_CERTAINTY = 0.999_999


def _number(default: float, unit: str, help: str, above: float = 0, below: float = float("inf")) -> float:
    value: float = field(default=default, metadata={"unit": unit, "help": help, "above": above, "below": below})
    return value


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """Where alerts begin; each field's metadata has its `unit` and `help`, and the bounds between which it must lie.

    Raises ConfigError for a number out of its bounds, and for a latency that no bucket of the histogram ends at.
    """

    objective: float = _number(0.99, "share", "how many attempts should succeed, of those that count", below=_CERTAINTY)
    latency_seconds: float = _number(60.0, "seconds", "how long an image may take; a bucket of the histogram")
    latency_objective: float = _number(0.95, "share", "how many images should come within that time", below=_CERTAINTY)
    minimum_requests: float = _number(
        10, "attempts", "fewer attempts (or images) in its window, and an alert on a share is silent"
    )
    throttled_ratio: float = _number(0.1, "share", "how many attempts may be throttled", below=1)
    moderation_ratio: float = _number(0.2, "share", "how many attempts moderation may refuse", below=1)
    spend_spike_ratio: float = _number(3.0, "times", "spend of an hour over that of the day before", 1, 24)
    spend_spike_usd: float = _number(1.0, "USD an hour", "spend below this is no spike, whatever it is compared with")
    image_cost_ratio: float = _number(1.5, "times", "cost of an image over that of the day or week before", above=1)
    at_risk_usd: float = _number(1.0, "USD an hour", "estimated cost of attempts that may have been billed")
    ledger_lag_seconds: float = _number(300.0, "seconds", "how long an attempt may wait for the ledger")
    price_age_days: float = _number(90.0, "days", "how old the bundled prices may get")
    runbooks: str = field(
        default=_RUNBOOKS, metadata={"unit": "URL", "help": "the folder of the runbooks, which alerts link to"}
    )

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if not isinstance(value, str) and not each.metadata["above"] < value < each.metadata["below"]:
                raise ConfigError(f"{_words(each.name)} is {value:.9g}: it must be {_bounds(**each.metadata)}")
        if self.latency_seconds not in DURATION_BUCKETS:
            choices = ", ".join(f"{bucket:g}" for bucket in DURATION_BUCKETS)
            raise ConfigError(f"latency seconds is {self.latency_seconds:g}: it must be a bucket, one of {choices}")
        if not self.runbooks.startswith(("http://", "https://")):
            raise ConfigError(f"runbooks is {self.runbooks[:80]!r}: it must be a URL, https://...")

    def runbook(self, alert: str) -> str:
        """Return where the runbook of an alert is."""
        return f"{self.runbooks.rstrip('/')}/{alert}.md"


def _words(name: str) -> str:
    return name.replace("_", " ")


def _bounds(*, above: float, below: float, **_: object) -> str:
    return f"above {above:g} and finite" if below == float("inf") else f"between {above:g} and {below:g}"
