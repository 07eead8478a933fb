"""Prometheus metrics of the calls that this process makes, and the apps that show them."""

from __future__ import annotations

from pixelmeter.sinks.prometheus.exposition import exposed_registry, make_asgi_app, make_wsgi_app
from pixelmeter.sinks.prometheus.sink import PrometheusSink

__all__ = ["PrometheusSink", "exposed_registry", "make_asgi_app", "make_wsgi_app"]
