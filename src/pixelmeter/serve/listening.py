"""Where a server listens."""

from __future__ import annotations

import socket

from pixelmeter.errors import ConfigError

__all__ = ["listen", "shown", "split_address"]


def split_address(text: str) -> tuple[str, int]:
    """Return host and port of `host:port` or `[IPv6]:port`; ConfigError for what is neither."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ConfigError(f"{text[:80]!r} is no address: write HOST:PORT, such as 127.0.0.1:8088")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ConfigError(f"{text[:80]!r} is no address: write an IPv6 address in brackets, such as [::1]:8088")
    return host, int(port)


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens; port 0 takes a free one. ConfigError where the address cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        raise ConfigError(f"cannot listen on {host} port {port}: {error.strerror or error}") from None


def shown(listening: socket.socket, scheme: str = "http") -> str:
    """Return the URL at which a socket listens."""
    host, port = listening.getsockname()[:2]
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
