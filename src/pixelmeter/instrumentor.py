"""`opentelemetry-instrument python app.py` meters the clients that the program makes, without a line in it."""

from __future__ import annotations

import functools
import importlib
import logging
from collections.abc import Callable, Collection, Iterator
from typing import Any

from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]

from pixelmeter.drivers.instrument import instrument_unless_metered
from pixelmeter.errors import PixelmeterError
from pixelmeter.meter import Meter
from pixelmeter.sinks.otel import OtelSink

__all__ = ["PixelmeterInstrumentor"]

_log = logging.getLogger("pixelmeter")


class PixelmeterInstrumentor(BaseInstrumentor):  # type: ignore[misc]
    """Meters every client of httpx and httpx2 that is made from now on, and so those of OpenAI and AIgateway.

        PixelmeterInstrumentor().instrument()

    Takes `tracer_provider` and `meter_provider` (the global ones by default), or a `meter` to use instead of one by the
    environment's settings. Settings that cannot be used are logged, and nothing is metered. A client that the program
    instruments itself goes to the meter that it names there.
    """

    def instrumentation_dependencies(self) -> Collection[str]:
        """Return nothing: either library is used where it is there."""
        return ()

    def _instrument(self, **kwargs: Any) -> None:
        try:
            self._meter: Meter | None = kwargs.get("meter") or _meter(kwargs)
        except Exception as error:  # the launcher would give up on all other instrumentations as well
            self._meter = None
            kind = "" if isinstance(error, PixelmeterError) else f"{type(error).__name__}: "
            _log.error("image calls are not metered: %s%s", kind, error)
            return
        self._replaced = [(kind, kind.__init__, self._metering(kind.__init__)) for kind in _client_classes()]
        for kind, _, metering in self._replaced:
            kind.__init__ = metering

    def _uninstrument(self, **kwargs: Any) -> None:
        meter, self._meter = self._meter, None
        if meter is None:
            return
        for kind, original, metering in self._replaced:
            # Where somebody has put something over ours, ours stays, and does nothing any more.
            if kind.__init__ is metering:
                kind.__init__ = original
        meter.close()

    def _metering(self, original: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(original)
        def metering(client: object, *args: Any, **kwargs: Any) -> None:
            original(client, *args, **kwargs)
            meter = self._meter
            if meter is not None:
                try:
                    instrument_unless_metered(client, meter)
                except Exception as error:
                    meter.failures.note("client", error)

        return metering


def _meter(options: dict[str, Any]) -> Meter:
    return Meter(sinks=[OtelSink(options.get("tracer_provider"), options.get("meter_provider"))])


def _client_classes() -> Iterator[Any]:
    for name in ("httpx", "httpx2"):
        try:
            library = importlib.import_module(name)
        except ImportError:
            continue
        yield library.Client
        yield library.AsyncClient
