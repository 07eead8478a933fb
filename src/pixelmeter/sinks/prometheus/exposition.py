"""What /metrics shows: of one process its registry, of several gunicorn workers the sum of their files."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

__all__ = ["exposed_registry", "is_multiprocess", "make_asgi_app", "make_wsgi_app"]


def exposed_registry(registry: CollectorRegistry | None = None) -> CollectorRegistry:
    """Return what to show of a registry (the default one where none is given).

    With PROMETHEUS_MULTIPROC_DIR in the environment that is a new registry, which adds up the files of all workers;
    ValueError where the variable names no folder.
    """
    from prometheus_client import REGISTRY, CollectorRegistry

    if not is_multiprocess():
        return REGISTRY if registry is None else registry
    from pixelmeter.sinks.prometheus.workers import Workers

    everything = CollectorRegistry()
    Workers(everything)
    return everything


def make_wsgi_app(registry: CollectorRegistry | None = None) -> Callable[..., Any]:
    """Return a WSGI app that answers with the metrics, of all workers where there are several."""
    library: Any = import_module("prometheus_client")
    app: Callable[..., Any] = library.make_wsgi_app(exposed_registry(registry))
    return app


def make_asgi_app(registry: CollectorRegistry | None = None) -> Callable[..., Any]:
    """Return an ASGI app that answers with the metrics, of all workers where there are several."""
    library: Any = import_module("prometheus_client")
    app: Callable[..., Any] = library.make_asgi_app(exposed_registry(registry))
    return app


def is_multiprocess() -> bool:
    """Return whether prometheus_client keeps values in files for other processes to read.

    It decides that once, when it is imported, so this asks it and not the environment.
    """
    from prometheus_client import values

    return bool(getattr(values.ValueClass, "_multiprocess", False))
