"""`pixelmeter dashboards`: what Prometheus, Alertmanager and Grafana take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import click

from pixelmeter.cli.output import plain
from pixelmeter.monitoring import Thresholds, files, write

__all__ = ["command"]

_Command = TypeVar("_Command", bound=Callable[..., Any])


def _threshold_options(command: _Command) -> _Command:
    for each in reversed(fields(Thresholds)):
        told, unit = each.metadata["help"], each.metadata["unit"]
        command = click.option(
            f"--{each.name.replace('_', '-')}",
            type=type(each.default),
            metavar=unit.upper().replace(" ", "_"),
            default=each.default,
            show_default=each.default != "",
            help=f"{told[0].upper()}{told[1:]}.",
        )(command)
    return command


@click.group()
def command() -> None:
    """Write dashboards, rules and alerts for Grafana, Prometheus and Alertmanager."""


@command.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@_threshold_options
@click.option("--force", is_flag=True, help="Replace files that are there with another text.")
def export(folder: Path, force: bool, **thresholds: Any) -> None:
    """Write every file into DIR, with alerts that begin where the options say.

    Files that are there with the same text are left alone; one with another text is an error, and then nothing is
    written.
    """
    states = write(folder, files(Thresholds(**thresholds)), force=force)
    for name, state in states.items():
        click.echo(f"{state:9}  {plain(str(folder / name))}")
