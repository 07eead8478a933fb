"""Tokens as metrics: one histogram by the older conventions, counters and histograms by the newer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

from opentelemetry.context import Context
from opentelemetry.metrics import Meter

from pixelmeter.core.attempts.record import Attempt
from pixelmeter.core.labels import Direction, tokens
from pixelmeter.sinks.otel import semconv

__all__ = ["LatestUsage", "Usage"]

_DIRECTIONS: tuple[Direction, ...] = get_args(Direction)


class Usage:
    """`gen_ai.client.token.usage`: the tokens of an attempt, by input and output."""

    def __init__(self, meter: Meter) -> None:
        self._tokens = meter.create_histogram(
            "gen_ai.client.token.usage",
            unit="{token}",
            description="Tokens of an attempt that the gateway counted.",
            explicit_bucket_boundaries_advisory=semconv.TOKEN_BUCKETS,
        )

    def record(self, attempt: Attempt, labels: Mapping[str, str], context: Context | None) -> None:
        """Record what the gateway counted."""
        for direction, number in _totals(attempt).items():
            self._tokens.record(number, {**labels, semconv.TOKEN_TYPE: direction}, context)


class LatestUsage:
    """`gen_ai.client.inference.usage.*`, which can be summed, and `gen_ai.client.inference.operation.*_tokens`."""

    def __init__(self, meter: Meter) -> None:
        self._used = {
            direction: meter.create_counter(
                f"gen_ai.client.inference.usage.{direction}_tokens",
                unit="{token}",
                description=f"Tokens of the {direction} that the gateway counted.",
            )
            for direction in _DIRECTIONS
        }
        self._cached = meter.create_counter(
            "gen_ai.client.inference.usage.cache_read.input_tokens",
            unit="{token}",
            description="Tokens of the input that came from the gateway's cache.",
        )
        self._by_attempt = {
            direction: meter.create_histogram(
                f"gen_ai.client.inference.operation.{direction}_tokens",
                unit="{token}",
                description=f"Tokens of the {direction} of an attempt that the gateway counted.",
                explicit_bucket_boundaries_advisory=semconv.TOKEN_BUCKETS,
            )
            for direction in _DIRECTIONS
        }

    def record(self, attempt: Attempt, labels: Mapping[str, str], context: Context | None) -> None:
        """Record what the gateway counted."""
        for direction, modality, number in tokens(attempt):
            kind = modality.removeprefix("cached_")
            self._used[direction].add(number, {**labels, semconv.TOKEN_MODALITY: kind}, context)
            if kind != modality:
                self._cached.add(number, {**labels, semconv.TOKEN_MODALITY: kind}, context)
        for direction, number in _totals(attempt).items():
            self._by_attempt[direction].record(number, labels, context)


def _totals(attempt: Attempt) -> Mapping[Direction, int]:
    totals: dict[Direction, int] = {}
    for direction, _, number in tokens(attempt):
        totals[direction] = totals.get(direction, 0) + number
    return totals
