"""What the head of a request says, and what of it goes on."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple
from urllib.parse import unquote

__all__ = ["CONNECTION_ONLY", "Head", "Refused", "named_in", "read_head", "read_tags"]

CONNECTION_ONLY = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)
"""Headers that are about one connection, and so do not go on to another."""

# The gateway's own name takes the place of Host; the rest is settled between the client and us.
_OURS = frozenset((b"host", b"expect", b"http2-settings"))
_MARK = b"x-pixelmeter-"
_TAGS = b"x-pixelmeter-tags"
_TOKEN = b"x-pixelmeter-token"
_HEAD_LIMIT = 65_536
_TARGET = re.compile(rb"/[!-~]*")


class Refused(Exception):
    """A request that does not go on; the answer says why."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status

    def body(self) -> bytes:
        """Return the answer, in the form that SDKs of OpenAI's API read."""
        error = {"message": str(self), "type": "pixelmeter_proxy", "code": self.status}
        return json.dumps({"error": error}, ensure_ascii=False).encode()


class Head(NamedTuple):
    """The head of a request."""

    target: bytes
    headers: Sequence[tuple[bytes, bytes]]
    """Those that go on, as they came."""
    tags: bytes
    token: bytes
    length: int | None
    """Of the body; None where it comes in chunks, or there is none."""
    is_chunked: bool
    expects: bool
    """Whether the client waits to be told that it may send the body."""


class _Reading:
    """What the headers of a request say, one after the other."""

    def __init__(self) -> None:
        self.passed: list[tuple[bytes, bytes]] = []
        self.lengths: list[bytes] = []
        self.ours: dict[bytes, bytes] = {}
        """The others, by lower-case name; the values of a name that comes twice are joined."""

    def take(self, raw: Iterable[tuple[bytes, bytes]]) -> int:
        """Take the headers; return how many bytes they have."""
        size = 0
        for pair in raw:
            name = pair[0].lower()
            size += len(name) + len(pair[1]) + 4
            if name in CONNECTION_ONLY or name in _OURS or name.startswith(_MARK):
                before = self.ours.get(name)
                self.ours[name] = pair[1] if before is None else before + b"," + pair[1]
                continue
            if name == b"content-length":
                self.lengths.append(pair[1])
            self.passed.append(pair)
        return size

    def word(self, name: bytes) -> bytes:
        """Return the value of a header that is for us, in lower case."""
        return self.ours.get(name, b"").strip().lower()


def read_head(target: bytes, raw: Sequence[tuple[bytes, bytes]]) -> Head:
    """Read a head that the parser has accepted; Refused for what a proxy must not let through."""
    if not _TARGET.fullmatch(target) or b"#" in target:
        raise Refused(400, "the request line must have a path, such as /v1/images/generations")
    reading = _Reading()
    if len(target) + reading.take(raw) > _HEAD_LIMIT:
        raise Refused(431, f"the headers have more than {_HEAD_LIMIT:,} bytes")
    ours, lengths, passed = reading.ours, reading.lengths, reading.passed
    coding, upgrade, expect = map(reading.word, (b"transfer-encoding", b"upgrade", b"expect"))
    if coding not in (b"", b"chunked"):
        raise Refused(501, "a body may have no transfer coding but chunked")
    if len(lengths) > 1 or (lengths and (coding or not lengths[0].isdigit() or len(lengths[0]) > 18)):
        raise Refused(400, "a request has one length")
    # A client that offers HTTP/2 over a plain connection, as Java's does, goes on without; one that asks for a
    # WebSocket cannot.
    if upgrade not in (b"", b"h2c"):
        raise Refused(501, "this proxy passes on HTTP/1.1 and no other protocol")
    if expect not in (b"", b"100-continue"):
        raise Refused(417, "nothing but 100-continue can be expected")
    connection = ours.get(b"connection")
    if connection is not None and (dropped := named_in([connection])):
        passed = [pair for pair in passed if pair[0].lower() not in dropped]
    length = int(lengths[0]) if lengths else None
    return Head(target, passed, ours.get(_TAGS, b""), ours.get(_TOKEN, b""), length, bool(coding), bool(expect))


def named_in(connection: Iterable[bytes]) -> frozenset[bytes]:
    """Return the headers that a Connection header names besides: they are about one connection too.

    What a body needs to be read stays whatever it says.
    """
    names = {name.strip().lower() for value in connection for name in value.split(b",")}
    return frozenset(names) - {b"close", b"keep-alive", b"upgrade", b"content-length", b"content-type", b""}


def read_tags(text: bytes) -> tuple[Mapping[str, str], str | None]:
    """Read `team=growth,feature=x`, and say what of it is no tag; a comma in a value is written %2C."""
    tags: dict[str, str] = {}
    wrong: str | None = None
    try:
        decoded = text.decode()
    except UnicodeDecodeError:
        decoded = text.decode("latin-1")
    for part in decoded.split(","):
        key, equals, value = part.partition("=")
        key = unquote(key.strip())
        if key and equals:
            tags[key] = unquote(value.strip())
        elif part.strip():
            wrong = "x-pixelmeter-tags has a part that is not KEY=VALUE"
    return tags, wrong
