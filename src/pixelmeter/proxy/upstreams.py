"""Where requests go: gateways by the beginning of the path, and nothing that a request says."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import urlsplit

from pixelmeter.core.wire.headers import ascii_host
from pixelmeter.errors import ConfigError

__all__ = ["Upstream", "Upstreams", "read_upstream"]

_PORTS = {"http": 80, "https": 443}
_PLAIN = frozenset(range(0x21, 0x7F)) - frozenset(b'"#<>\\^`{|}?')


class Upstream(NamedTuple):
    """A gateway, and the requests that are for it."""

    prefix: bytes
    """What their paths begin with, which the gateway does not see; empty where all others are for it."""
    scheme: str
    name: str
    """The host, without a port."""
    port: int
    base: bytes
    """What the gateway's paths begin with."""

    @property
    def host(self) -> str:
        """The host, with the port where it is not the scheme's own."""
        name = f"[{self.name}]" if ":" in self.name else self.name
        return name if self.port == _PORTS[self.scheme] else f"{name}:{self.port}"

    def target(self, target: bytes) -> bytes | None:
        """Return path and query as the gateway gets them, cut to the byte; None for one that is not for it."""
        prefix = self.prefix
        if not target.startswith(prefix):
            return None
        rest = target[len(prefix) :]
        if not rest.startswith(b"/"):
            if rest and not rest.startswith(b"?"):
                return None
            rest = b"/" + rest
        return self.base + rest


class Upstreams:
    """All that requests may go to."""

    def __init__(self, upstreams: Iterable[Upstream]) -> None:
        """Raises ConfigError where two have the same prefix, and where there is none."""
        self._upstreams = sorted(upstreams, key=lambda upstream: -len(upstream.prefix))
        prefixes = [upstream.prefix for upstream in self._upstreams]
        if not prefixes:
            raise ConfigError("give an upstream, such as --upstream https://api.aigateway.sh")
        twice = next((prefix for prefix in prefixes if prefixes.count(prefix) > 1), None)
        if twice is not None:
            said = f"the path {twice.decode()}" if twice else "all paths"
            raise ConfigError(f"two upstreams for {said}: give one of them a path, such as /openrouter=https://…")

    def find(self, target: bytes) -> tuple[Upstream, bytes] | None:
        """Return whom a request is for by its path and query, and those as the gateway gets them."""
        for upstream in self._upstreams:
            found = upstream.target(target)
            if found is not None:
                return upstream, found
        return None


def read_upstream(text: str) -> Upstream:
    """Read `https://host[:port][/path]`, or `/prefix=` before it; ConfigError says what is wrong."""
    given, equals, url = text.partition("=") if text.startswith("/") else ("", "", text)
    prefix = given.rstrip("/")
    if text.startswith("/") and (not equals or not prefix or not _is_path(prefix)):
        raise ConfigError(f"{text[:80]!r} is no upstream: write /path=https://host")
    try:
        parts = urlsplit(url)
        port = parts.port
        name = ascii_host(parts.hostname or "")
    except ValueError as error:
        raise ConfigError(f"an upstream's URL cannot be read: {error}") from None
    if parts.scheme not in _PORTS or not name:
        raise ConfigError("an upstream is a URL that begins with https:// or http:// and has a host")
    if parts.username is not None or parts.password is not None:
        raise ConfigError(f"the upstream {name} has a user or a password: clients send their own keys")
    if parts.query or parts.fragment or "?" in url or "#" in url or not _is_path(parts.path):
        raise ConfigError(f"the upstream {name} has more than a path behind its host")
    base = parts.path.rstrip("/").encode()
    return Upstream(prefix.encode(), parts.scheme, name, _PORTS[parts.scheme] if port is None else port, base)


def _is_path(text: str) -> bool:
    return text.isascii() and _PLAIN.issuperset(text.encode())
