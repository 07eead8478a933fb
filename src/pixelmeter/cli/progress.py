"""A progress bar on standard error."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager

import click

__all__ = ["make_room", "progress"]

_ERASE = "\r\x1b[K"
_bars = 0


@contextmanager
def progress(label: str, total: int | None, *, is_shown: bool) -> Generator[Callable[[int, str], None]]:
    """Give a function that takes how much of the total is done by now, and a text beside the bar.

    None is a total that nobody knows. Where the bar is not shown, the function does nothing; where standard error is no
    terminal, the label is all that is printed.
    """
    global _bars
    if not is_shown:
        yield lambda done, text: None
        return
    said = ""
    nothing: tuple[None, ...] = ()
    shown = click.progressbar(
        # Not the tuple: its length would be taken for the total.
        (each for each in nothing),
        length=total,
        label=label,
        item_show_func=lambda _: said,
        show_eta=False,
        show_percent=total is not None,
        width=30,
        file=sys.stderr,
    )
    with shown as bar:

        def show(done: int, text: str) -> None:
            nonlocal said
            said = text
            bar.update(done - bar.pos)
            # A step of nothing draws nothing, but may say something new.
            bar.render_progress()

        _bars += 1
        try:
            yield show
        finally:
            _bars -= 1
            if sys.stderr.isatty():
                click.echo(_ERASE, nl=False, err=True)


def make_room() -> None:
    """Erase the bar where there is one, before a line is printed in its place; its next step draws it below."""
    if _bars and sys.stderr.isatty():
        click.echo(_ERASE, nl=False, err=True)
