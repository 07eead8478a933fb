"""A page that a test writes, served with the real scripts, stylesheets and policy."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

__all__ = ["STATIC", "Sample", "serving_sample", "table"]

STATIC = Path(__file__).parents[3] / "src" / "pixelmeter" / "serve" / "page" / "static"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Sample</title>
<link rel="icon" href="/static/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="/static/vendor/uPlot.min.css">
<link rel="stylesheet" href="/static/page.css">
<link rel="stylesheet" href="/static/figures.css">
<script src="/static/vendor/uPlot.iife.min.js" defer></script>
<script type="module" src="/static/page.js"></script>
</head>
"""


class Sample:
    """What the page shows, and what was asked."""

    def __init__(self) -> None:
        self.main = "<h1>Sample</h1>"
        self.live = 1
        """Seconds between two questions of the page."""
        self.status = 200
        self.answers: list[int] = []
        """The status of each answer with a page, in order."""
        self.changed = threading.Condition()
        self.root = ""

    def wait_for(self, *statuses: int) -> None:
        """Return when answers with these statuses have been given from now on, in this order, with any between them."""
        with self.changed:
            start = len(self.answers)

            def is_there() -> bool:
                given = iter(self.answers[start:])
                return all(status in given for status in statuses)

            assert self.changed.wait_for(is_there, timeout=60), self.answers[start:]

    def answer(self, asked: str | None) -> tuple[int, str, str]:
        """Return status, ETag and text of the page."""
        etag = f'"{hashlib.sha256(self.main.encode()).hexdigest()[:16]}"'
        status = 304 if self.status == 200 and asked == etag else self.status
        with self.changed:
            self.answers.append(status)
            self.changed.notify_all()
        opening = f'<main id="main" tabindex="-1" data-live="{self.live}" data-etag="{escape(etag)}" data-zone="UTC">'
        body = f'<body>{opening}{self.main}</main><footer class="bottom"><div id="live"></div></footer></body></html>'
        return status, etag, _HEAD + body


@contextmanager
def serving_sample() -> Iterator[Sample]:
    """Serve a sample on loopback."""
    sample = Sample()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path.startswith("/static/"):
                file = STATIC / path.removeprefix("/static/")
                self.send(200, file.read_bytes(), {"content-type": _TYPES[file.suffix]})
                return
            status, etag, text = sample.answer(self.headers["if-none-match"])
            content = b"" if status == 304 else text.encode()
            self.send(status, content, {"content-type": "text/html; charset=utf-8", "etag": etag})

        def send(self, status: int, content: bytes, headers: Mapping[str, str]) -> None:
            self.send_response(status)
            common = {"content-security-policy": POLICY, "cache-control": "no-store"}
            for name, value in {**headers, **common, "content-length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    sample.root = f"http://127.0.0.1:{server.server_port}/"
    try:
        yield sample
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def table(
    series: Mapping[str, Sequence[str | None]],
    *,
    kind: str = "bars-stacked",
    unit: str = "usd",
    start: int = 1_793_491_200,
    step: int = 86_400,
    name: str = "days",
) -> str:
    """Return a table with a chart; the row of each moment links to `/calls?since=SECONDS`."""
    heads = "".join(f'<th scope="col" data-series="{escape(each)}">{escape(each)}</th>' for each in series)
    rows = ""
    for number, values in enumerate(zip(*series.values(), strict=True)):
        at = start + number * step
        cells = "".join(
            "<td>unknown</td>" if value is None else f'<td data-value="{value}">{value}</td>' for value in values
        )
        rows += f'<tr><th scope="row" data-at="{at}"><a href="/calls?since={at}">row {number}</a></th>{cells}</tr>'
    return (
        f'<div class="scroll" role="region" aria-labelledby="{name}-caption" tabindex="0">'
        f'<table id="{name}" data-chart="{kind}" data-unit="{unit}" data-step="{step}" data-zone="UTC">'
        f'<caption id="{name}-caption">Sums of {name}</caption>'
        f'<thead><tr><th scope="col">Moment</th>{heads}</tr></thead><tbody>{rows}</tbody></table></div>'
    )
