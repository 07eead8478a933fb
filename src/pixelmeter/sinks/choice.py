"""Which sinks a meter has: those it is given, and those that the settings name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from pixelmeter.errors import ConfigError

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from pixelmeter.core.sink import Sink
    from pixelmeter.sinks.otel import OtelSink
    from pixelmeter.sinks.prometheus import PrometheusSink

__all__ = ["chosen"]

_METHODS = ("begin", "record", "observe")


def chosen(given: Sequence[Sink], registry: CollectorRegistry | None, named: Sequence[str]) -> Sequence[Sink]:
    """Return the sinks, in the order in which they are told; their libraries are imported only now.

    Raises ConfigError for what is no sink or no registry.
    """
    for each in given:
        if isinstance(each, type) or not all(callable(getattr(each, name, None)) for name in _METHODS):
            raise ConfigError(
                f"{str(each)[:60]!r} is no sink: give objects, such as OtelSink(); names go to PIXELMETER_SINKS"
            )
    if registry is not None and not callable(getattr(registry, "register", None)):
        raise ConfigError(f"registry is a {type(registry).__name__}: give a prometheus_client.CollectorRegistry")
    sinks = list(given)
    for name, find in _SINKS.items():
        if name == "prometheus" and registry is not None:
            sinks.append(_prometheus()(registry))
        elif name in named:
            kind = find()
            # A program may have made this sink itself; with a second one all would be counted twice.
            if not any(isinstance(each, kind) for each in given):
                sinks.append(kind())
    return sinks


def _prometheus() -> type[PrometheusSink]:
    from pixelmeter.sinks.prometheus import PrometheusSink

    return PrometheusSink


def _otel() -> type[OtelSink]:
    from pixelmeter.sinks.otel import OtelSink

    return OtelSink


# In this order, so that Prometheus finds the span that OpenTelemetry has made current, for its exemplars.
_SINKS: Mapping[str, Callable[[], type]] = {"otel": _otel, "prometheus": _prometheus}
