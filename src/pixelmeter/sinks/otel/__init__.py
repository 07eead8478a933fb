"""OpenTelemetry: a span for every attempt, one above those of a call, and metrics."""

from __future__ import annotations

from pixelmeter.sinks.otel.sink import OtelSink

__all__ = ["OtelSink"]
