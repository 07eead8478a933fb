"""A JSON document with its long strings cut short, made while its bytes pass."""

from __future__ import annotations

_STRING_LIMIT = 2048
_HEAD = 64
_BACKSLASH = 0x5C
_DOCUMENT_LIMIT = 1_000_000
_PLAIN_LIMIT = 65_536
SHORT = 16_384
"""Bytes; a document of this size is cheaper to keep than to skim."""


def find(chunk: bytes, byte: bytes, at: int) -> int:
    """Return where the byte is next; the end of the chunk where it is not."""
    found = chunk.find(byte, at)
    return len(chunk) if found < 0 else found


class Whole:
    """Keeps a document that is known to be short, as `Skim` keeps a longer one."""

    __slots__ = ("_chunks", "feed")

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self.feed = self._chunks.append

    def document(self) -> bytes | None:
        """Return the document."""
        return b"".join(self._chunks)


class Head:
    """Keeps the first bytes of a picture, enough to read its dimensions."""

    __slots__ = ("start",)

    def __init__(self) -> None:
        self.start = b""

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes."""
        if len(self.start) < _HEAD:
            self.start += chunk[: _HEAD - len(self.start)]


class Skim:
    """Feed the bytes of a JSON document; `document()` is the same with every long string cut to its head.

    A base64 image becomes its first 64 characters, enough to read its dimensions, so memory stays constant however
    large the response is. Searches run at memory speed; nothing is parsed on the way.
    """

    __slots__ = ("_cutting", "_escaped", "_kept", "_open")

    def __init__(self) -> None:
        self._kept = bytearray()
        self._open = 0  # where the current string began in _kept; 0 outside a string
        self._cutting = False
        self._escaped = False

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes."""
        kept = self._kept
        at, end = 0, len(chunk)
        quote = -1
        while at < end and len(kept) <= _DOCUMENT_LIMIT:
            if self._escaped:
                if not self._cutting:
                    self._take(chunk[at : at + 1])
                self._escaped = False
                at += 1
                continue
            if quote < at:
                quote = find(chunk, b'"', at)
            stop = quote
            if self._cutting:
                # Nothing of it is kept, so only what stands right before the quote matters: one search, not two.
                backslashes = stop
                while backslashes > at and chunk[backslashes - 1] == _BACKSLASH:
                    backslashes -= 1
                if (stop - backslashes) % 2:
                    self._escaped = stop == end
                    at = stop + 1
                    continue
            elif self._open:
                slash = chunk.find(b"\\", at, stop)
                if slash >= 0:
                    self._take(chunk[at : min(slash, at + _STRING_LIMIT) + 1])
                    self._escaped = True
                    at = slash + 1
                    continue
            if not self._cutting:
                # One byte more than is kept tells that it is too long: of a whole body at once nothing else is copied.
                most = _STRING_LIMIT if self._open else _DOCUMENT_LIMIT
                self._take(chunk[at : min(stop, at + most + 1)])
            if stop < end:
                kept += b'"'
                self._open = 0 if self._open else len(kept)
                self._cutting = False
            at = stop + 1

    def document(self) -> bytes | None:
        """Return the document; None when even without its long strings it is over 1 MB."""
        return None if len(self._kept) > _DOCUMENT_LIMIT else bytes(self._kept)

    def _take(self, piece: bytes) -> None:
        kept = self._kept
        start = self._open
        if not start:
            kept += piece[: _DOCUMENT_LIMIT + 1 - len(kept)]
            return
        if len(kept) - start + len(piece) <= _STRING_LIMIT:
            kept += piece
            return
        self._cutting = True
        head = bytes(kept[start : start + _HEAD]) or piece[:_HEAD]
        if len(head) < _HEAD:
            head += piece[: _HEAD - len(head)]
        # An escape sequence must not be cut in two, so a head that holds one is not kept.
        kept[start:] = b"..." if b"\\" in head else head


def document_of(content: bytes) -> bytes | None:
    """Return a JSON body as it is, or with its long strings cut when it is large: image data is never copied.

    None where even then it is over 1 MB.
    """
    if len(content) <= _PLAIN_LIMIT:
        return content
    skim = Skim()
    skim.feed(content)
    return skim.document()
