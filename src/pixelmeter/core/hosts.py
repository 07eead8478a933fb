"""Hosts as HTTP libraries write them in a URL: lower case, ASCII, without the dot of the root."""

from __future__ import annotations

import re
import unicodedata

__all__ = ["ascii_host", "without_root"]

# The dots that a name may have before it is encoded (RFC 3490, section 3.1).
_DOTS = re.compile("[.\u3002\uff0e\uff61]")
_ROOT = re.compile(r"(?<=.)\.(?=(:[^.:\]]*)?$)")
_WILD = re.compile(r"[*?\[\]]")


def without_root(host: str) -> str:
    """Return `host` or `host:port` without the dot that may end a full name: `api.example.` is `api.example`."""
    return _ROOT.sub("", host) if "." in host else host


def ascii_host(text: str) -> str:
    """Return a host, or a pattern of hosts, as it would stand in a URL; ValueError says why it cannot.

    A label with letters beyond ASCII (`bücher`) is encoded (`xn--bcher-kva`), and so cannot have wildcards.
    """
    host = unicodedata.normalize("NFC", text.strip()).lower()
    if not host.isascii():
        # Imported late, and by its own name: it is what httpx encodes with.
        import idna

        name, colon, port = host.partition(":")
        labels = _DOTS.split(name)
        for number, label in enumerate(labels):
            if label.isascii():
                continue
            if _WILD.search(label):
                raise ValueError(f"{label!r} has letters beyond ASCII, so it cannot have wildcards")
            labels[number] = idna.encode(label).decode("ascii")
        host = f"{'.'.join(labels)}{colon}{port}"
    return without_root(host)
