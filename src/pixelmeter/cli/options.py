"""The options that commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from pixelmeter.settings import from_environment

__all__ = ["FORMATS", "database_url_option", "format_option"]

FORMATS = ("table", "json", "csv")

_Command = TypeVar("_Command", bound=Callable[..., Any])


def database_url_option(command: _Command) -> _Command:
    """Add `--database-url`, by default the one of the environment; the parameter is `database_url: str`."""
    return click.option(
        "--database-url",
        metavar="URL",
        default=lambda: from_environment().database_url,
        show_default="PIXELMETER_DATABASE_URL, else sqlite:///pixelmeter.db",
        help="The ledger, as an SQLAlchemy URL.",
    )(command)


def format_option(command: _Command) -> _Command:
    """Add `--format table|json|csv`; the parameter is `format: str`."""
    return click.option(
        "--format",
        type=click.Choice(FORMATS),
        default="table",
        show_default=True,
        help="A table to read, JSON, or CSV that a spreadsheet opens safely.",
    )(command)
