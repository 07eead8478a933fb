"""A table of text: as wide as it is in a file or a pipe, and no wider than the terminal where there is one."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import wcwidth

__all__ = ["Column", "cell_len", "fitted", "laid_out", "line", "terminal_width", "wrapped"]

_DIGIT = re.compile("[0-9]")
_GAP = "  "
_INDENT = "    "
_RULE = "─"
_ELLIPSIS = "…"
_COLUMNS = 80
# Other columns are left out before names are cut, or other text is wrapped, below these widths.
_NAME, _TEXT = 34, 20
_LEAST = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column: its heading, its cells, that of the total, and what becomes of it where there is no room."""

    heading: str
    cells: Sequence[str]
    footer: str = ""
    is_right: bool = False
    """Numbers, which stand as they are."""
    is_name: bool = False
    """Cut in the middle, where a name tells least; other text is wrapped."""
    drop: int | None = None
    """The lowest is left out first; None is always there."""

    def natural(self) -> int:
        """Return the width at which nothing is cut or wrapped."""
        return max(map(cell_len, (self.heading, self.footer, *self.cells)))

    def least(self) -> int:
        """Return the width below which others should give way."""
        return self.natural() if self.is_right else min(self.natural(), _NAME if self.is_name else _TEXT)


def cell_len(text: str) -> int:
    """Return how many cells of a terminal a text takes."""
    return len(text) if text.isascii() else wcwidth.width(text, control_codes="ignore")


def terminal_width() -> int | None:
    """Return how wide the terminal is that standard output goes to; None where it goes elsewhere."""
    if not sys.stdout.isatty():
        return None
    import shutil

    return shutil.get_terminal_size((_COLUMNS, 0)).columns


def laid_out(
    columns: Sequence[Column], width: int | None, *, has_total: bool = False, below: Sequence[Sequence[str]] = ()
) -> Iterator[str]:
    """Yield the lines of a table that is at most `width` cells wide, and one that says what was left out.

    Where that is too narrow for the numbers that are left, the lines are longer: a cut number is a wrong number.
    `below` has sentences for each row, which stand under it.
    """
    kept, widths = fitted(columns, width)
    yield line(kept, widths, [column.heading for column in kept])[0]
    yield _RULE * (sum(widths) + len(_GAP) * (len(kept) - 1))
    for number, cells in enumerate(zip(*(column.cells for column in kept), strict=True)):
        yield from line(kept, widths, cells)
        for text in below[number] if below else ():
            yield from (_INDENT + part for part in wrapped(text, None if width is None else width - len(_INDENT)))
    if has_total:
        yield ""
        yield from line(kept, widths, [column.footer for column in kept])
    if left_out := [column.heading for column in columns if column not in kept]:
        said = f"Hidden, as the window is narrow: {', '.join(left_out)}; a file or a pipe has every column"
        yield from wrapped(said, width)


def fitted(columns: Sequence[Column], width: int | None) -> tuple[list[Column], list[int]]:
    """Return the columns that there is room for, and how wide each may be; None is room for all."""
    kept = list(columns)
    if width is not None:
        for column in sorted((one for one in columns if one.drop is not None), key=lambda one: one.drop or 0):
            if sum(one.least() for one in kept) <= _room(kept, width):
                break
            kept.remove(column)
    return kept, _widths(kept, width)


def line(columns: Sequence[Column], widths: Sequence[int], cells: Sequence[str]) -> list[str]:
    """Return a row as the lines that it takes: more than one where text is wrapped."""
    pieces: list[Sequence[str]] = []
    for column, width, cell in zip(columns, widths, cells, strict=True):
        if cell_len(cell) <= width or (column.is_right and _DIGIT.search(cell)):
            pieces.append([cell])
        else:
            pieces.append([_cut(cell, width)] if column.is_name or column.is_right else wrapped(cell, width))
    found: list[str] = []
    for number in range(max(map(len, pieces))):
        texts = [piece[number] if number < len(piece) else "" for piece in pieces]
        filled = [
            (" " * (width - cell_len(text)) + text) if column.is_right else text + " " * (width - cell_len(text))
            for column, width, text in zip(columns, widths, texts, strict=True)
        ]
        found.append(_GAP.join(filled).rstrip())
    return found


def _room(columns: Sequence[Column], width: int) -> int:
    return width - len(_GAP) * (len(columns) - 1)


def _widths(columns: Sequence[Column], width: int | None) -> list[int]:
    natural = [column.natural() for column in columns]
    if width is None:
        return natural
    widths = [column.least() for column in columns]
    spare = _room(columns, width) - sum(widths)
    if spare < 0:
        widths = [found if one.is_right else min(found, _LEAST) for one, found in zip(columns, widths, strict=True)]
        spare = _room(columns, width) - sum(widths)
    # Whoever needs least is served first, so that what is not needed there is left to the others.
    needs = sorted((wanted - found, index) for index, (wanted, found) in enumerate(zip(natural, widths, strict=True)))
    for served, (need, index) in enumerate(needs):
        given = min(need, max(spare, 0) // (len(needs) - served))
        widths[index] += given
        spare -= given
    return widths


def _cut(text: str, width: int) -> str:
    head = width // 2
    tail = width - len(_ELLIPSIS) - head
    start = "".join(_fitting(wcwidth.iter_graphemes(text), head)).rstrip()
    end = "".join(reversed(list(_fitting(wcwidth.iter_graphemes_reverse(text), tail)))).lstrip()
    return f"{start}{_ELLIPSIS}{end}"


def _fitting(characters: Iterable[str], width: int) -> Iterator[str]:
    for character in characters:
        width -= cell_len(character)
        if width < 0:
            return
        yield character


def _chopped(word: str, width: int) -> Iterator[str]:
    piece, room = "", width
    for character in wcwidth.iter_graphemes(word):
        needed = cell_len(character)
        if needed > room and piece:
            yield piece
            piece, room = "", width
        piece += character
        room -= needed
    yield piece


def wrapped(text: str, width: int | None) -> list[str]:
    """Return a text as lines that are at most `width` cells wide; None is room for all."""
    if width is None:
        return [text]
    lines: list[str] = []
    for word in text.split(" "):
        if lines and cell_len(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            if cell_len(word) <= width:
                lines.append(word)
            else:
                lines += _chopped(word, width)
    return lines
