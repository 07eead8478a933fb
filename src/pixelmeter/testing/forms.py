"""Multipart forms."""

from __future__ import annotations

import re
from dataclasses import dataclass

from pixelmeter.testing.incoming import BadRequest

__all__ = ["Form", "parse_form"]


@dataclass(frozen=True, slots=True)
class Form:
    """A multipart form: its text fields, and the field name of each file."""

    fields: dict[str, str]
    files: tuple[str, ...]


def parse_form(body: bytes, content_type: str) -> Form:
    """Return the form in a multipart body; raise BadRequest."""
    found = re.search(r'boundary="?([^";]+)"?', content_type)
    if found is None:
        raise BadRequest("the multipart body has no boundary in its content-type")
    mark = b"--" + found[1].encode("latin-1")
    start, *parts, end = body.split(mark)
    if start.strip() or not end.startswith(b"--"):
        raise BadRequest("the multipart body does not start and end with its boundary")
    fields: dict[str, str] = {}
    files: list[str] = []
    for part in parts:
        head, _, content = part.partition(b"\r\n\r\n")
        disposition = head.decode("utf-8", "replace")
        name = re.search(r'[; ]name="([^"]*)"', disposition)
        if name is None:
            raise BadRequest("a part of the multipart body has no name")
        if re.search(r"[; ]filename\*?=", disposition):
            files.append(name[1])
        else:
            fields[name[1]] = content[:-2].decode("utf-8", "replace")
    return Form(fields, tuple(files))
