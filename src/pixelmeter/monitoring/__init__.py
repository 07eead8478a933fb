"""Dashboards, rules and alerts as files: the finished ones of `dashboards/`, with the thresholds of a team in them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal

import msgspec

from pixelmeter.core.metrics import DURATION_BUCKETS
from pixelmeter.data_files import asset_dir
from pixelmeter.errors import ConfigError
from pixelmeter.monitoring.runbooks import alert_pages

__all__ = ["PAGE", "PLACES", "VARIABLES", "Place", "State", "Thresholds", "files", "texts", "write"]

PLACES = Path(__file__).with_name("places.json")
"""Every file that is exported, in order, each with the places at which it holds a threshold."""
VARIABLES = (
    "PIXELMETER_PROMETHEUS_URL",
    "PIXELMETER_LEDGER_ADDRESS",
    "PIXELMETER_LEDGER_DATABASE",
    "PIXELMETER_LEDGER_SSLMODE",
    "PIXELMETER_LEDGER_READER",
    "PIXELMETER_LEDGER_READER_PASSWORD",
)
"""What the files for Grafana read from its environment, so that they hold no address and no secret."""

State = Literal["new", "changed", "unchanged"]

PAGE = "http://127.0.0.1:9469"
"""Where `pixelmeter serve` has its page when it is not told otherwise."""

# What a URL is made of, but for what would be more than text in JSON, YAML or a template of Grafana or Prometheus.
_URL = re.compile(r"https?://[\w.~:/?#@!&()*+,;=%\[\]-]+", re.ASCII)
# An objective this close to 1 allows no failure, and the burn of what it allows is a division by nothing.
_CERTAINTY = 0.999_999
# How many times faster than the objective allows: where alerts on its budget begin.
_BURNS = (14.4, 6, 3, 1)
# With a low objective a budget cannot burn so fast; yet when nearly everything fails, somebody must hear of it.
_HIGHEST_SHARE = 0.9


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
    budget_used_ratio: float = _number(0.8, "share", "how much of a budget may be spent before it is told", below=1)
    coverage_ratio: float = _number(0.95, "share", "how much of what a gateway charged the ledger has to have", below=1)
    drift_ratio: float = _number(0.01, "share", "by how much of a month a report and the ledger may differ", below=1)
    # Jobs take seconds to minutes, and are given up after a day: whatever keeps one open, most of that day is left.
    open_job_seconds: float = _number(7200.0, "seconds", "how long a job may be open, of which no end is heard")
    ledger_lag_seconds: float = _number(300.0, "seconds", "how long an attempt may wait for the ledger")
    spool_used_ratio: float = _number(0.5, "share", "how much of its limit a spool folder may hold", below=1)
    price_age_days: float = _number(90.0, "days", "how old the bundled prices may get")
    page: str = field(
        default=PAGE,
        metadata={
            "unit": "URL",
            "help": "where `pixelmeter serve` shows its page; dashboards and alerts link to it",
        },
    )
    runbooks: str = field(
        default="",
        metadata={
            "unit": "URL",
            "help": "the folder of the runbooks, where it is not the one of that page",
        },
    )

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if not isinstance(value, str) and not each.metadata["above"] < value < each.metadata["below"]:
                raise ConfigError(f"{_words(each.name)} is {value:.9g}: it must be {_bounds(**each.metadata)}")
        if self.latency_seconds not in DURATION_BUCKETS:
            choices = ", ".join(f"{bucket:g}" for bucket in DURATION_BUCKETS)
            raise ConfigError(f"latency seconds is {self.latency_seconds:g}: it must be a bucket, one of {choices}")
        for name, url in (("page", self.page), ("runbooks", self.runbooks)):
            if not _URL.fullmatch(url) and (url or name == "page"):
                raise ConfigError(f"{name} is {url[:80]!r}: it must be a URL, https://...")

    @property
    def page_url(self) -> str:
        """Where the page of `pixelmeter serve` is, without a "/" at its end."""
        return self.page.rstrip("/")

    @property
    def runbooks_url(self) -> str:
        """The folder of the runbooks, without a "/" at its end."""
        return self.runbooks.rstrip("/") or f"{self.page_url}/runbooks"

    def runbook(self, alert: str) -> str:
        """Return where the runbook of an alert is."""
        return f"{self.runbooks_url}/{alert}.md"


class Place(msgspec.Struct, array_like=True, frozen=True):
    """Where a file holds a threshold."""

    line: int
    """Counted from 1."""
    column: int
    """Counted from 0, in characters."""
    name: str
    """Which of the `texts` stands there."""


def texts(thresholds: Thresholds) -> dict[str, str]:
    """Return each text that depends on the thresholds, as a file has it, by name.

    "exact" is a number of JSON, with all its digits; rules and sentences have six digits.
    """
    allowed = _allowed(thresholds.objective)
    return {
        "page": thresholds.page_url,
        "runbooks": thresholds.runbooks_url,
        "latency_seconds": f"{thresholds.latency_seconds:g}",
        "latency_seconds exact": json.dumps(thresholds.latency_seconds),
        # Prometheus stores the bounds of a histogram as floats are printed: le="60.0".
        "latency_seconds as a bucket": str(float(thresholds.latency_seconds)),
        "minimum_requests": f"{thresholds.minimum_requests:g}",
        "throttled_ratio": f"{thresholds.throttled_ratio:g}",
        "throttled_ratio exact": json.dumps(thresholds.throttled_ratio),
        "moderation_ratio": f"{thresholds.moderation_ratio:g}",
        "moderation_ratio exact": json.dumps(thresholds.moderation_ratio),
        "spend_spike_ratio": f"{thresholds.spend_spike_ratio:g}",
        "spend_spike_usd": f"{thresholds.spend_spike_usd:g}",
        "image_cost_ratio": f"{thresholds.image_cost_ratio:g}",
        "at_risk_usd": f"{thresholds.at_risk_usd:g}",
        "at_risk_usd exact": json.dumps(thresholds.at_risk_usd),
        "budget_used_ratio": f"{thresholds.budget_used_ratio:g}",
        "budget_used_ratio exact": json.dumps(thresholds.budget_used_ratio),
        "coverage_ratio": f"{thresholds.coverage_ratio:g}",
        "coverage_ratio exact": json.dumps(thresholds.coverage_ratio),
        "drift_ratio": f"{thresholds.drift_ratio:g}",
        "open_job_seconds": f"{thresholds.open_job_seconds:g}",
        "open_job_seconds exact": json.dumps(thresholds.open_job_seconds),
        "ledger_lag_seconds": f"{thresholds.ledger_lag_seconds:g}",
        "ledger_lag_seconds exact": json.dumps(thresholds.ledger_lag_seconds),
        "spool_used_ratio": f"{thresholds.spool_used_ratio:g}",
        "spool_used_ratio exact": json.dumps(thresholds.spool_used_ratio),
        "price_age_days": f"{thresholds.price_age_days:g}",
        "price_age_days in seconds, exact": json.dumps(thresholds.price_age_days * 86_400),
        "allowed by objective": f"{allowed:.4g}",
        "14.4 times allowed by objective, exact": json.dumps(float(f"{min(14.4 * allowed, 1):.6g}")),
        **_of_objective("objective", thresholds.objective),
        **_of_objective("latency_objective", thresholds.latency_objective),
    }


def files(thresholds: Thresholds) -> dict[str, str]:
    """Return the text of each file that is exported by its path, "/" between its parts; the pages on alerts are last.

    Raises ConfigError where a file that came with pixelmeter is missing, or has another text in the place of a
    threshold.
    """
    folder = asset_dir("dashboards")
    usual, chosen = texts(Thresholds()), texts(thresholds)
    places = msgspec.json.decode(PLACES.read_bytes(), type=dict[str, list[Place]])
    made: dict[str, str] = {}
    for name, found in places.items():
        try:
            made[name] = _filled(folder / name, found, usual, chosen)
        except (OSError, ValueError, IndexError) as error:
            raise ConfigError(f"{folder / name} is not as it came with pixelmeter: install pixelmeter again") from error
    return made | alert_pages()


def write(folder: Path, contents: Mapping[str, str], *, force: bool = False) -> dict[str, State]:
    """Write files into a folder, which is made if need be; return what became of each.

    Raises ConfigError, with nothing written, when a file is there with another text and `force` is not set; and when
    the folder cannot be written to.
    """
    try:
        states: dict[str, State] = {name: _state(folder / name, text) for name, text in contents.items()}
        changed = [name for name, state in states.items() if state == "changed"]
        if changed and not force:
            raise ConfigError(f"{folder} has files that would change ({', '.join(changed)}): --force replaces them")
        for name, state in states.items():
            if state != "unchanged":
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(contents[name].encode())
    except OSError as error:
        raise ConfigError(f"{error.filename or folder} cannot be written: {error.strerror}") from error
    return states


def _state(path: Path, text: str) -> State:
    try:
        return "unchanged" if path.read_bytes() == text.encode() else "changed"
    except FileNotFoundError:
        return "new"


def _of_objective(name: str, objective: float) -> dict[str, str]:
    """Return the texts that follow from a share of attempts that should go well, as both objectives are."""
    return {
        f"{name} exact": json.dumps(objective),
        f"{name} in percent": f"{100 * objective:.9g}",
        f"allowed by {name}, exact": json.dumps(_allowed(objective)),
        f"allowed by {name}, in percent": f"{100 * (1 - objective):.4g}",
        **{
            f"{burn:g} times allowed by {name}": f"{min(burn * (1 - objective), _HIGHEST_SHARE):.6g}" for burn in _BURNS
        },
    }


def _allowed(objective: float) -> float:
    """Return the share of failures that an objective leaves, without the noise of floats, and never 0."""
    return float(f"{1 - objective:.6g}")


def _filled(path: Path, places: Sequence[Place], usual: Mapping[str, str], chosen: Mapping[str, str]) -> str:
    """Return the text of a file with the `chosen` texts in the places of the `usual` ones."""
    lines = path.read_bytes().decode().split("\n")
    # From the end, so that a longer text moves no place that is still to come.
    for place in reversed(places):
        line, text = lines[place.line - 1], usual[place.name]
        if not line.startswith(text, place.column):
            raise ValueError(f"line {place.line} has no {text!r} at column {place.column}")
        before, after = line[: place.column], line[place.column + len(text) :]
        lines[place.line - 1] = before + chosen[place.name] + after
    return "\n".join(lines)


def _words(name: str) -> str:
    return name.replace("_", " ")


def _bounds(*, above: float, below: float, **_: object) -> str:
    return f"above {above:g} and finite" if below == float("inf") else f"between {above:g} and {below:g}"
