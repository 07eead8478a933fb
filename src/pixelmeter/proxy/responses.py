"""What goes back to the client: the head of an answer byte for byte, and the frames of its body."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pixelmeter.proxy.requests import CONNECTION_ONLY, named_in

__all__ = ["Framing", "local_head", "upstream_head"]

_SWITCHED = 101
_EMPTY = (204, 304)
_BREAKS = (b"\r", b"\n", b"\0")


class Framing:
    """How the body of an answer is marked off."""

    __slots__ = ("has_length", "is_chunked", "is_empty", "is_kept")

    def __init__(self, *, is_chunked: bool, has_length: bool, is_empty: bool, is_kept: bool) -> None:
        self.is_chunked = is_chunked
        self.has_length = has_length
        self.is_empty = is_empty
        self.is_kept = is_kept
        """Whether the connection serves another request."""

    def frame(self, piece: bytes) -> bytes:
        """Return what is sent for a piece of the body."""
        if self.is_empty:
            return b""
        return b"%x\r\n%b\r\n" % (len(piece), piece) if self.is_chunked else piece

    @property
    def end(self) -> bytes:
        """What is sent when the body has ended."""
        return b"0\r\n\r\n" if self.is_chunked and not self.is_empty else b""


def upstream_head(
    status: int,
    reason: str | None,
    raw: Iterable[tuple[bytes, bytes]],
    *,
    method: str,
    is_newest: bool,
    is_kept: bool,
) -> tuple[bytes, Framing]:
    """Return the head of a gateway's answer for the client, and how its body goes on.

    `is_newest` says whether the client speaks HTTP/1.1, `is_kept` whether its connection may serve another request.
    ValueError, which says why, for one that cannot go on.
    """
    if status == _SWITCHED:
        raise ValueError("it switches to another protocol")
    lines: list[bytes] = []
    connection: list[bytes] = []
    codings: list[bytes] = []
    has_length = False
    for name, value in raw:
        lower = name.lower()
        if lower not in CONNECTION_ONLY:
            has_length = has_length or lower == b"content-length"
            lines.append(b"%b: %b\r\n" % (name, value))
        elif lower == b"connection":
            connection.append(value)
        elif lower == b"transfer-encoding":
            codings.append(value.strip().lower())
    if codings and codings != [b"chunked"]:
        raise ValueError("its body has a transfer coding other than chunked")
    is_encoded = bool(codings)
    dropped = named_in(connection) if connection else frozenset[bytes]()
    if is_encoded:
        # It says how long the body is, whatever else does.
        dropped |= {b"content-length"}
    if dropped:
        lines = [line for line in lines if line.partition(b":")[0].lower() not in dropped]
    text = b"".join(lines)
    if text.count(b"\n") != len(lines) or text.count(b"\r") != len(lines) or b"\0" in text:
        raise ValueError("a header has a line break")
    has_length = has_length and not is_encoded
    is_empty = method == "HEAD" or status in _EMPTY
    is_chunked = not has_length and is_newest and not is_empty
    is_kept = is_kept and (has_length or is_chunked or is_empty)
    if is_chunked:
        text += b"Transfer-Encoding: chunked\r\n"
    return _status_line(status, reason) + text + _connection(is_newest=is_newest, is_kept=is_kept) + b"\r\n", Framing(
        is_chunked=is_chunked, has_length=has_length, is_empty=is_empty, is_kept=is_kept
    )


def local_head(status: int, headers: Sequence[tuple[str, str]], *, is_newest: bool, is_kept: bool) -> bytes:
    """Return the head of an answer of our own."""
    text = "".join(f"{name}: {value}\r\n" for name, value in headers).encode()
    return _status_line(status, None) + text + _connection(is_newest=is_newest, is_kept=is_kept) + b"\r\n"


def _status_line(status: int, reason: str | None) -> bytes:
    if reason is None:
        from http import HTTPStatus

        reason = HTTPStatus(status).phrase
    said = reason.encode("utf-8", "surrogateescape")
    if any(each in said for each in _BREAKS):
        said = b""
    return b"HTTP/1.1 %d %b\r\n" % (status, said)


def _connection(*, is_newest: bool, is_kept: bool) -> bytes:
    if is_kept:
        return b"" if is_newest else b"Connection: keep-alive\r\n"
    return b"Connection: close\r\n"
