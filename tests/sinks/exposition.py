"""What a scraper reads, in a form that tests can add up."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

__all__ = ["Scrape"]


class Scrape:
    """One reading of /metrics."""

    def __init__(self, source: CollectorRegistry | str) -> None:
        text = source if isinstance(source, str) else generate_latest(source).decode()
        self.text = text
        self.samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]

    def total(self, name: str, **labels: str) -> float:
        """Return the sum of all samples of that name with those labels; there must be one."""
        values: list[float] = [sample.value for sample in self._of(name, labels)]
        assert values, f"no {name} {labels}"
        return sum(values)

    def has(self, name: str, **labels: str) -> bool:
        """Return whether there is a sample of that name with those labels."""
        return any(True for _ in self._of(name, labels))

    def values(self, label: str) -> set[str]:
        """Return all values of a label."""
        return {sample.labels[label] for sample in self.samples if label in sample.labels}

    def _of(self, name: str, labels: dict[str, str]) -> Iterable[Any]:
        return (one for one in self.samples if one.name == name and labels.items() <= one.labels.items())
