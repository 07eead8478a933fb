"""Which sinks a meter has: those it is given, and those that the settings name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from pixelmeter.fanout import Sink
    from pixelmeter.sinks.otel import OtelSink
    from pixelmeter.sinks.prometheus import PrometheusSink

__all__ = ["chosen"]


def chosen(given: Sequence[Sink], registry: CollectorRegistry | None, named: Sequence[str]) -> Sequence[Sink]:
    """Return the sinks, in the order in which they are told; their libraries are imported only now."""
    sinks = list(given)
    for name, find in _SINKS.items():
        if name == "prometheus" and registry is not None:
            sinks.append(_prometheus()(registry))
        elif name in named:
            kind = find()
            # One that the program made itself is not made again: all would be counted twice.
            if not any(isinstance(each, kind) for each in given):
                sinks.append(kind())
    return sinks


def _prometheus() -> type[PrometheusSink]:
    from pixelmeter.sinks.prometheus import PrometheusSink

    return PrometheusSink


def _otel() -> type[OtelSink]:
    from pixelmeter.sinks.otel import OtelSink

    return OtelSink


# In this order: a sink sees the span that one before it has made current.
_SINKS: Mapping[str, Callable[[], type]] = {"otel": _otel, "prometheus": _prometheus}
