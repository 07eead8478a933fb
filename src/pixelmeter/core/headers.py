"""Raw headers by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pixelmeter.core.text import bounded

__all__ = ["Headers", "by_name", "first", "length_of", "media_type"]

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
