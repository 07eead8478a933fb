"""Where the files hold thresholds, found by making them several times."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from pixelmeter.monitoring import Place, Thresholds, texts
from scripts.dashboards.export import files

__all__ = ["places", "to_json"]

# Made with each of these, two places read alike only if they read alike with any thresholds.
_USUAL = Thresholds()
_OTHERS = (
    Thresholds(
        objective=0.123456789,
        latency_seconds=7.5,
        latency_objective=0.987654321,
        minimum_requests=17,
        throttled_ratio=0.23456789,
        moderation_ratio=0.3456789,
        spend_spike_ratio=4.56789,
        spend_spike_usd=5.67891,
        image_cost_ratio=6.78912,
        at_risk_usd=7.8912345,
        budget_used_ratio=0.456789123,
        coverage_ratio=0.56789123,
        drift_ratio=0.06789123,
        open_job_seconds=8912.345678,
        ledger_lag_seconds=891.2345678,
        spool_used_ratio=0.6789123,
        price_age_days=91.2345678,
        page="https://meter.example",
        runbooks="https://wiki.example/images",
    ),
    Thresholds(
        objective=0.0654321,
        latency_seconds=120,
        latency_objective=0.0543210987,
        page="https://page.example:8443",
        runbooks="http://notes.example",
    ),
)
_ADDRESS = "|".join(re.escape(each) for one in (_USUAL, *_OTHERS) for each in (one.runbooks_url, one.page_url))
_CHANGING = re.compile(rf"(?:{_ADDRESS})|\d+(?:\.\d+)?(?:e[+-]\d+)?")


def places() -> dict[str, list[Place]]:
    """Return every file that is exported, with its places in the order in which they stand in it.

    Raises ValueError where a file changes with the thresholds and what stands there is none of the `texts`.
    """
    made = [files(thresholds) for thresholds in (_USUAL, *_OTHERS)]
    known = [texts(thresholds) for thresholds in (_USUAL, *_OTHERS)]
    return {name: list(_places(name, [each[name] for each in made], known)) for name in made[0]}


def to_json(found: Mapping[str, Sequence[Place]]) -> str:
    """Return the places as JSON, each on a line of its own."""
    listed: list[str] = []
    for name, here in found.items():
        lines = ",".join(f"\n  {msgspec.json.encode(place).decode()}" for place in here)
        listed.append(f'"{name}": [{lines}]')
    return "{\n" + ",\n".join(listed) + "\n}\n"


def _places(file: str, made: Sequence[str], known: Sequence[Mapping[str, str]]) -> Iterator[Place]:
    """Yield the places of a file, of which `made` has the versions and `known` the texts of each version."""
    for number, versions in enumerate(zip(*(text.split("\n") for text in made), strict=True), 1):
        if len({_CHANGING.sub("", line) for line in versions}) > 1:
            raise ValueError(f"{file}:{number}: more than numbers and addresses change with the thresholds")
        for found in zip(*(_CHANGING.finditer(line) for line in versions), strict=True):
            read = [each[0] for each in found]
            if len(set(read)) > 1:
                names = [name for name in known[0] if read == [each[name] for each in known]]
                if len(names) != 1:
                    raise ValueError(f"{file}:{number}: {read} is {names or 'nothing'} of `texts`, not one of them")
                yield Place(number, found[0].start(), names[0])
