"""A request of urllib3 as a method of a pool is given it: what it says, and its headers as they are sent."""

from __future__ import annotations

from typing import Any

from urllib3.util.url import parse_url

from pixelmeter.outgoing import bytes_of

__all__ = ["Request", "SentHeaders", "content_of", "place_of"]

_NAMES = ("method", "url", "body", "headers")
_DEFAULT_PORTS = {"http": 80, "https": 443}


class Request:
    """A request as it is given to a method of a pool."""

    __slots__ = ("args", "at", "body", "headers", "kwargs", "method", "pool", "sent", "url")

    def __init__(self, pool: Any, args: tuple[Any, ...], kwargs: dict[str, Any], at: int) -> None:
        self.pool = pool
        self.args = args
        self.kwargs = kwargs
        # How many arguments there are before the method.
        self.at = at
        given = {**kwargs, **dict(zip(_NAMES, args[at:], strict=False))}
        self.method: Any = given.get("method")
        self.url: Any = given.get("url")
        self.body = given.get("body")
        headers = given.get("headers")
        self.headers: Any = pool.headers if headers is None else headers
        # What is sent in the end, where a layer below has told it.
        self.sent: Any = None

    def put(self, headers: Any) -> None:
        """Have other headers sent."""
        self.headers = headers
        number = self.at + 3
        if len(self.args) > number:
            self.args = (*self.args[:number], headers, *self.args[number + 1 :])
        else:
            self.kwargs = {**self.kwargs, "headers": headers}


class SentHeaders:
    """The headers of a request as they are sent; what is changed is a copy, which is put into the request."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._is_own = False

    def get(self, name: str, default: str = "") -> str:
        request = self._request
        value = (request.headers if request.sent is None else request.sent).get(name, default)
        return value.decode("latin-1") if isinstance(value, bytes) else str(value)

    def __setitem__(self, name: str, value: str) -> None:
        self._own()[name] = value

    def pop(self, name: str, default: Any = None) -> Any:
        return self._own().pop(name, default)

    def _own(self) -> Any:
        request = self._request
        if not self._is_own:
            self._is_own = True
            request.put(request.headers.copy() if hasattr(request.headers, "copy") else dict(request.headers))
        return request.headers


def place_of(request: Request) -> tuple[bytes, bytes]:
    """Return host and target of a request; through a plain proxy the target that is sent has both."""
    pool, url = request.pool, request.url
    if url.startswith("/") and url.isascii():
        scheme, host, port, target = pool.scheme, pool.host, pool.port, url.partition("#")[0]
    else:
        parsed = parse_url(url)
        target = parsed.request_uri
        if parsed.host is None:
            scheme, host, port = pool.scheme, pool.host, pool.port
        else:
            scheme, host, port = parsed.scheme or "http", parsed.host, parsed.port
    host = host.lower()
    if ":" in host and not host.startswith("["):
        host = f"[{host}]"
    if port is not None and port != _DEFAULT_PORTS.get(scheme):
        host = f"{host}:{port}"
    return host.encode("ascii"), target.encode("ascii")


def content_of(body: object) -> bytes | None:
    """Return what of a request's body is in memory; files, iterables and generators stay unread."""
    if body is None:
        return b""
    return body.encode("utf-8", "replace") if isinstance(body, str) else bytes_of(body)
