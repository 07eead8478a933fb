"""Raw headers by name, and hosts as they stand in URLs."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

from pixelmeter.core.text import bounded

__all__ = ["Headers", "ascii_host", "by_name", "first", "length_of", "media_type", "without_root"]

Headers = Mapping[bytes, bytes]
"""Values by lower-case name; text is made of what is asked for only."""


def by_name(raw: Iterable[tuple[bytes, bytes]]) -> Headers:
    """Return the values by lower-case name; those of a name that comes twice are joined, as HTTP says.

    So an amount that comes twice is no amount.
    """
    pairs = list(raw)
    found = {name.lower(): value for name, value in pairs}
    if len(found) < len(pairs):
        values: dict[bytes, list[bytes]] = {}
        for name, value in pairs:
            values.setdefault(name.lower(), []).append(value)
        return {name: b", ".join(several) for name, several in values.items()}
    return found


def first(headers: Headers, names: Sequence[bytes]) -> str | None:
    """Return the first of the named headers that is there and not empty, as bounded text."""
    for name in names:
        value = headers.get(name)
        if value:
            return bounded(value.decode("latin-1"))
    return None


def length_of(headers: Headers) -> int | None:
    """Return the Content-Length."""
    text = headers.get(b"content-length", b"")
    return int(text) if text.isdigit() and len(text) <= 18 else None


def media_type(headers: Headers) -> bytes:
    """Return the type of the Content-Type in lower case, without its parameters; b"" where there is none."""
    return headers.get(b"content-type", b"").partition(b";")[0].strip().lower()


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
