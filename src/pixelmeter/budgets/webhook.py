"""Posts messages to the URL of a webhook, signed as Standard Webhooks has it."""

from __future__ import annotations

import base64
import socket
import sys
import threading
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from pixelmeter import lifecycle
from pixelmeter._version import __version__
from pixelmeter.core.budgets.notices import signatures_of
from pixelmeter.core.ports import Clock
from pixelmeter.errors import PixelmeterError

if TYPE_CHECKING:
    import httpx

__all__ = ["Message", "Undelivered", "Webhook", "pause_of"]

_CONNECT_SECONDS = 5.0
_SECONDS = 10.0
_PATIENCE = 30.0
"""Seconds for an answer as a whole, however steadily it drips."""
_CONNECTED = ("connect_tcp.complete", "start_tls.complete")
_LONGEST_PAUSE = 60


class Undelivered(PixelmeterError):
    """A webhook did not take a message, but may later. The text has nothing of its URL."""

    def __init__(self, message: str, again: float | None = None) -> None:
        super().__init__(message)
        self.again = again
        """In how many seconds, where the webhook says so."""


class Message(NamedTuple):
    """What a webhook is sent."""

    id: str
    """The same where it is sent again."""
    body: bytes
    """JSON."""
    webhook: str
    """Which webhook it is, for errors."""


class Webhook:
    """Posts messages. The URL is a secret: whoever knows it can post there, so it stands in no error and no log."""

    def __init__(self, keys: Sequence[bytes], clock: Clock, *, patience: float = _PATIENCE) -> None:
        """`keys` sign what is sent, `patience` is how many seconds one try may take."""
        self._keys = keys
        self._clock = clock
        self._patience = patience

    def post(self, url: str, message: Message) -> None:
        """Post a message once. Undelivered where it may be tried again, PixelmeterError where that has no use."""
        # A fork waits while modules are imported that a child would need.
        with lifecycle.opening():
            import httpx

        webhook, deadline = message.webhook, _Deadline(self._patience)
        try:
            with deadline:
                status, told = self._send(url, message, deadline)
        except (httpx.UnsupportedProtocol, httpx.LocalProtocolError, httpx.InvalidURL, ValueError) as error:
            raise PixelmeterError(f"{webhook} has no URL that can be used: {type(error).__name__}") from None
        except (httpx.TransportError, OSError) as error:
            if deadline.is_over:
                raise Undelivered(f"{webhook} has no answer within {self._patience:g} seconds") from None
            raise Undelivered(f"{webhook} cannot be reached: {type(error).__name__}") from None
        if status >= 500 or status == 429:
            raise Undelivered(f"{webhook} answers {status}", pause_of(told))
        if not 200 <= status < 300:
            raise PixelmeterError(f"{webhook} answers {status}: it is not tried again")

    def _send(self, url: str, message: Message, deadline: _Deadline) -> tuple[int, str | None]:
        import httpx

        target = httpx.URL(url)
        seconds = self._clock.now() // 1_000_000
        headers = {
            "content-type": "application/json",
            "user-agent": f"pixelmeter/{__version__}",
            "webhook-id": message.id,
            "webhook-timestamp": str(seconds),
        }
        if self._keys:
            headers["webhook-signature"] = signatures_of(self._keys, message.id, seconds, message.body)
        if target.userinfo:
            headers["authorization"] = f"Basic {base64.b64encode(target.userinfo).decode()}"
        request = httpx.Request(
            "POST",
            target,
            headers=headers,
            content=message.body,
            extensions={
                "timeout": httpx.Timeout(_SECONDS, connect=_CONNECT_SECONDS).as_dict(),
                "trace": deadline.trace,
            },
        )
        # No client: it would log the URL, follow redirects, and be metered where every client is.
        with _untraced(), httpx.HTTPTransport(proxy=_proxy_of(target)) as transport:
            response = transport.handle_request(request)
            try:
                return response.status_code, response.headers.get("retry-after")
            finally:
                response.close()


class _Deadline:
    """Ends a connection when so many seconds are over: the time-outs of httpx are between two bytes."""

    def __init__(self, seconds: float) -> None:
        self.is_over = False
        self._stream: Any = None
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Hear from httpx what it is at."""
        if event.endswith(_CONNECTED):
            self._stream = info["return_value"]

    def _end(self) -> None:
        self.is_over = True
        if self._stream is not None:
            # That of TLS would also change what the other thread reads from.
            with suppress(OSError):
                socket.socket.shutdown(self._stream.get_extra_info("socket"), socket.SHUT_RDWR)


def pause_of(header: str | None) -> float | None:
    """Return the seconds, a minute at most, that a header `retry-after` asks for; None where it has no seconds."""
    if header is None or not header.strip().isdecimal():
        return None
    return float(min(int(header.strip()[:9]), _LONGEST_PAUSE))


def _proxy_of(url: httpx.URL) -> str | None:
    """Return the proxy that the environment names for a URL."""
    from urllib.request import getproxies, proxy_bypass

    proxy = None if proxy_bypass(url.host) else getproxies().get(url.scheme)
    return proxy if proxy is None or "://" in proxy else f"http://{proxy}"


@contextmanager
def _untraced() -> Generator[None]:
    """Have no tracer make a span of a request: it would have the URL."""
    context: Any = sys.modules.get("opentelemetry.context")
    if context is None:
        # Nothing here has loaded OpenTelemetry, so nobody traces.
        yield
        return
    token = context.attach(context.set_value("suppress_instrumentation", True))
    try:
        yield
    finally:
        context.detach(token)
