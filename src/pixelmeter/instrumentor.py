"""`opentelemetry-instrument python app.py` meters the clients that the program makes, without a line in it."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]

from pixelmeter.auto import is_disabled
from pixelmeter.drivers.patching import LateMeter, patch
from pixelmeter.meter import Meter

__all__ = ["PixelmeterInstrumentor"]

_CLOSING_SECONDS = 2.0


class PixelmeterInstrumentor(BaseInstrumentor):  # type: ignore[misc]
    """Meters every client of httpx, httpx2, aiohttp and urllib3, and of the SDKs that use these, with OpenTelemetry.

        PixelmeterInstrumentor().instrument()

    `instrument` takes `tracer_provider` and `meter_provider` (by default the global ones), or a `meter`; without one a
    meter is made from the settings of the environment. Settings that cannot be used are logged, and nothing is metered
    then. A client that the program instruments itself keeps the meter that it was given.
    """

    _undo: Callable[[], None] | None = None
    _source: LateMeter

    def instrumentation_dependencies(self) -> Collection[str]:
        """Return nothing: either library is used where it is there."""
        return ()

    def _instrument(self, **kwargs: Any) -> None:
        if is_disabled():
            return
        self._source = LateMeter(lambda: kwargs.get("meter") or _meter(kwargs))
        self._undo = patch(self._source)

    def _uninstrument(self, **kwargs: Any) -> None:
        undo, self._undo = self._undo, None
        if undo is not None:
            undo()
            self._source.close(_CLOSING_SECONDS)


def _meter(options: dict[str, Any]) -> Meter:
    from pixelmeter.sinks.otel import OtelSink

    return Meter(sinks=[OtelSink(options.get("tracer_provider"), options.get("meter_provider"))])
