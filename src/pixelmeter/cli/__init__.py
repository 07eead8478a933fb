"""The `pixelmeter` command; each subcommand is `command` in the module of its name, imported when it is asked for."""

from __future__ import annotations

import importlib
import io
import sys
from typing import Any

import click

from pixelmeter._version import __version__
from pixelmeter.cli.streams import guarded
from pixelmeter.errors import PixelmeterError

__all__ = ["COMMANDS", "main"]

COMMANDS: dict[str, str] = {
    "demo": "Drive real clients against a stand-in gateway and print what they spent.",
    "run": "Run a Python program and meter its image calls, without a change to its code.",
    "report": "Sum up spend, latency and failures by model, day, tag and more.",
    "calls": "List single attempts, newest first, as they are now.",
    "jobs": "List the jobs whose end is not known yet, oldest first.",
    "budgets": "Show how much of each budget is used; check a file of budgets; reset or remove one.",
    "check": "Compare spend, errors and latency with limits; for cron and CI.",
    "reconcile": "Compare the ledger with what a gateway says that it charged in a month.",
    "adjust": "Correct the cost of one attempt by hand.",
    "export": "Write attempts to CSV, JSON lines, Parquet or FOCUS, to a file, a folder or an S3 bucket.",
    "db": "Upgrade the ledger's schema; delete old attempts; show sizes.",
    "prices": "List, explain, check and apply prices.",
    "gateways": "List, explain and check gateway profiles.",
    "dashboards": "Write dashboards, rules and alerts for Grafana, Prometheus and Alertmanager.",
    "serve": "Serve Prometheus metrics that are read from the ledger.",
    "proxy": "Meter programs in any language: pass their requests on to gateways.",
    "doctor": "Check the settings, the ledger and the spool, and say what to do.",
}
"""The subcommands and what each is for, so that the overview needs none of their modules."""


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"pixelmeter.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run the command and end the process, as click does; streams that fail end it too."""
        if not extra.get("standalone_mode", True):
            return super().main(*args, **extra)
        with guarded():
            return super().main(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except PixelmeterError as error:
            raise click.ClickException(" ".join(str(error).split())) from None


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, message="%(prog)s %(version)s")
def main() -> None:
    """What a team's image-generation calls cost, how long they take and how they fail.

    The ledger is the database with the recorded calls. --database-url or PIXELMETER_DATABASE_URL names it; without
    them it is the file pixelmeter.db in this folder.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A model name that the terminal's encoding lacks must not end the command.
            stream.reconfigure(errors="backslashreplace")
