"""The text fields of a form that is in memory; what is in its files is passed over, never copied.

Takes time in proportion to the body, most of it in the search for the boundary, and no memory for what is not a field.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import unquote_plus

__all__ = ["TEXT_LIMIT", "Fields", "multipart_fields", "parameter", "urlencoded_fields"]

Fields = tuple[tuple[str, str | None], ...]
"""Pairs of a field's name and its text; None for a file."""

_PARTS_LIMIT = 1000
_HEAD_LIMIT = 8192
_NAME_LIMIT = 200
TEXT_LIMIT = 4096
_BOUNDARY_LIMIT = 200
_FILE = (b"filename", b"filename*")
# A value in quotes ends at the first quote that no backslash stands before.
_PARAMETER = re.compile(rb';\s*([\w*-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;\s]*))', re.DOTALL)
_ESCAPED = re.compile(rb'\\(["\\])')
_PICTURE = re.compile(rb"^content-type\s*:\s*image/", re.IGNORECASE | re.MULTILINE)
_DISPOSITION = re.compile(rb"^content-disposition\s*:(.*(?:\r?\n[ \t].*)*)", re.IGNORECASE | re.MULTILINE)


def parameter(value: bytes, name: bytes) -> bytes | None:
    """Return a parameter of a header's value, without its quotes; None where it has none of that name."""
    for found in _PARAMETER.finditer(value):
        if found[1].lower() == name:
            return found[3] if found[2] is None else _ESCAPED.sub(rb"\1", found[2])
    return None


def multipart_fields(content: bytes, content_type: bytes) -> Fields:
    """Return the fields of a multipart/form-data body; none where its Content-Type names no boundary.

    A text over 4096 bytes is cut. Of a body that breaks off there is what had come whole.
    """
    boundary = parameter(content_type[:_HEAD_LIMIT], b"boundary")
    return tuple(_parts(content, b"--" + boundary)) if boundary and len(boundary) <= _BOUNDARY_LIMIT else ()


def urlencoded_fields(content: bytes) -> Fields:
    """Return the fields of an application/x-www-form-urlencoded body; a text over 4096 bytes is cut."""
    return tuple(_pairs(content))


def _parts(content: bytes, delimiter: bytes) -> Iterator[tuple[str, str | None]]:
    at = 0 if content.startswith(delimiter) else content.find(b"\n" + delimiter) + 1
    if not content.startswith(delimiter, at):
        return
    line = b"\n" + delimiter
    for _ in range(_PARTS_LIMIT):
        start = at + len(delimiter)
        if content.startswith(b"--", start):
            return
        end = content.find(line, start)
        if end < 0:
            return
        field = _field(content, start, end)
        if field is not None:
            yield field
        at = end + 1


def _field(content: bytes, start: int, end: int) -> tuple[str, str | None] | None:
    """Read the part from behind its delimiter to the line end before the next one."""
    head_end, text_start = _head_end(content, start, min(end, start + _HEAD_LIMIT))
    head = content[start:head_end]
    disposition = _DISPOSITION.search(head)
    name = None if disposition is None else parameter(disposition[1], b"name")
    if disposition is None or name is None:
        return None
    named = name[:_NAME_LIMIT].decode("utf-8", "replace")
    if any(parameter(disposition[1], key) is not None for key in _FILE) or _PICTURE.search(head):
        return named, None
    # A line ends with CR LF, of which the search found the LF.
    end -= content.endswith(b"\r", text_start, end)
    return named, content[text_start : min(end, text_start + TEXT_LIMIT)].decode("utf-8", "replace")


def _head_end(content: bytes, start: int, end: int) -> tuple[int, int]:
    """Return where the part's headers end and where its text begins."""
    for blank in (b"\r\n\r\n", b"\n\n"):
        at = content.find(blank, start, end)
        if at >= 0:
            return at, at + len(blank)
    return end, end


def _pairs(content: bytes) -> Iterator[tuple[str, str | None]]:
    at = 0
    for _ in range(_PARTS_LIMIT):
        end = content.find(b"&", at)
        end = len(content) if end < 0 else end
        middle = content.find(b"=", at, min(end, at + _NAME_LIMIT))
        if middle >= 0:
            yield _decoded(content[at:middle]), _decoded(content[middle + 1 : min(end, middle + 1 + TEXT_LIMIT)])
        if end == len(content):
            return
        at = end + 1


def _decoded(text: bytes) -> str:
    return unquote_plus(text.decode("latin-1"), errors="replace")
