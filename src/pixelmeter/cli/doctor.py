"""`pixelmeter doctor`."""

from __future__ import annotations

import sys
from dataclasses import asdict

import click

from pixelmeter.cli.options import format_option
from pixelmeter.cli.output import emit
from pixelmeter.reports.doctor import examine

__all__ = ["command"]


# Not the shared option: its default reads the settings, and what is wrong with those is one of the findings.
@click.command
@click.option(
    "--database-url",
    metavar="URL",
    show_default="PIXELMETER_DATABASE_URL, else sqlite:///pixelmeter.db",
    help="The ledger: sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE.",
)
@format_option
def command(database_url: str | None, format: str) -> None:
    """Check settings, libraries, ledger, spool, prices and gateway profiles; exit with 1 if there is a problem.

    Changes nothing.
    """
    findings = list(examine(database_url))
    emit([asdict(finding) for finding in findings], ("check", "state", "found", "advice"), format)
    if any(finding.state == "problem" for finding in findings):
        sys.exit(1)
