"""A WSGI app whose workers make metered image calls: `/call` makes one and answers with the worker's process id.

The id is in the file `CALLING` before the call is made.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import httpx
from prometheus_client import REGISTRY

import pixelmeter
from pixelmeter.sinks.prometheus import make_wsgi_app

meter = pixelmeter.Meter(registry=REGISTRY)
client = pixelmeter.instrument(httpx.Client(base_url=os.environ["GATEWAY_URL"], timeout=30), meter)
metrics = make_wsgi_app()


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer one request."""
    if environ["PATH_INFO"] == "/metrics":
        shown: Iterable[bytes] = metrics(environ, start_response)
        return shown
    Path(os.environ["CALLING"]).write_text(str(os.getpid()))
    answer = client.post("/images/generations", json={"model": "meta/sam-3-1-image", "prompt": "a fox", "n": 2})
    start_response(f"{answer.status_code} Answered", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]
