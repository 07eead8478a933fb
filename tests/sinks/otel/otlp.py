"""A receiver of OTLP over HTTP, on loopback: what exporters of the SDK sent, parsed and as it came."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

__all__ = ["OtlpReceiver", "plain"]


def plain(attributes: Iterable[Any]) -> dict[str, object]:
    """Return the attributes of a protobuf message as a dictionary."""
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}


class OtlpReceiver:
    """Takes traces and metrics; a context manager."""

    def __init__(self) -> None:
        self._bodies: list[tuple[str, bytes]] = []
        self._changed = threading.Condition()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                with receiver._changed:
                    receiver._bodies.append((self.path, body))
                    receiver._changed.notify_all()
                self.send_response(200)
                self.send_header("content-type", "application/x-protobuf")
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        """What `OTEL_EXPORTER_OTLP_ENDPOINT` takes."""
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def wait(self, ready: Callable[[Self], bool], seconds: float = 20) -> None:
        """Return when `ready` says so, now or after something has arrived; fail after that many seconds."""
        with self._changed:
            assert self._changed.wait_for(lambda: ready(self), seconds), [path for path, _ in self._bodies]

    def bodies(self) -> list[bytes]:
        """Return every body, decompressed."""
        return [body for _, body in self._bodies]

    def spans(self) -> list[tuple[str, Any]]:
        """Return the spans, each with the name of its scope."""
        requests = [ExportTraceServiceRequest.FromString(body) for path, body in self._bodies if path == "/v1/traces"]
        scopes = [scope for each in requests for resource in each.resource_spans for scope in resource.scope_spans]
        return [(scope.scope.name, span) for scope in scopes for span in scope.spans]

    def metrics(self) -> dict[str, Any]:
        """Return the latest state of each metric of ours, by name."""
        bodies = [body for path, body in self._bodies if path == "/v1/metrics"]
        requests = [ExportMetricsServiceRequest.FromString(body) for body in bodies]
        scopes = [scope for each in requests for resource in each.resource_metrics for scope in resource.scope_metrics]
        return {metric.name: metric for scope in scopes if scope.scope.name == "pixelmeter" for metric in scope.metrics}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
