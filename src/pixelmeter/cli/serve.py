"""`pixelmeter serve`."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import click

from pixelmeter.cli.options import database_url_option
from pixelmeter.cli.streams import discard_output

__all__ = ["INSTALL", "command", "is_installed"]

INSTALL = 'pip install "pixelmeter[serve]"'
"""What brings the packages that this command needs."""

_FILE = click.Path(dir_okay=False, path_type=Path)
_NEEDED = ("starlette", "uvicorn")
_NEEDED_BY_THE_PAGE = (*_NEEDED, "jinja2", "markdown_it")


def is_installed(*, has_page: bool) -> bool:
    """Return whether the packages are there that this command needs, with the page or without it."""
    return all(importlib.util.find_spec(name) for name in (_NEEDED_BY_THE_PAGE if has_page else _NEEDED))


@click.command
@click.option("--metrics", is_flag=True, help="Serve Prometheus metrics at /metrics alone, without the page.")
@click.option(
    "--tag",
    "tags",
    metavar="KEY",
    multiple=True,
    help="Show spend of the month by the values of this tag, too, in the metrics; for several tags give it again.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=9469, show_default=True, help="The port; 0 takes a free one."
)
@click.option("--token-file", type=_FILE, help="Let in who sends the bearer token that this file holds.")
@click.option("--basic-auth-file", type=_FILE, help="Let in the user:password that this file holds.")
@database_url_option
def command(
    metrics: bool,
    tags: tuple[str, ...],
    host: str,
    port: int,
    token_file: Path | None,
    basic_auth_file: Path | None,
    database_url: str,
) -> None:
    """Serve what the ledger knows over HTTP: a page for people at /, and Prometheus metrics at /metrics.

    The page shows spend, calls, budgets and health. The counters of the metrics are sums of the ledger: those of all
    programs that write to it, and no restart sets them back. On any address but this machine's own, --token-file or
    --basic-auth-file is needed; a browser sends the token as the password of any user. SIGTERM and Ctrl-C end it.
    """
    if not is_installed(has_page=not metrics):
        raise click.ClickException(f"this command needs packages that are not installed: {INSTALL}")
    from pixelmeter.ledger.address import safe_url
    from pixelmeter.serve.guard import is_loopback, read_guard
    from pixelmeter.serve.server import serve

    guard = read_guard(token_file, basic_auth_file)
    if guard is None and not is_loopback(host):
        raise click.UsageError(f"{host} can be reached from elsewhere: give --token-file or --basic-auth-file")
    shown = safe_url(database_url)

    def tell(address: str) -> None:
        try:
            click.echo(f"metrics of {shown} at {address}/metrics" if metrics else f"page of {shown} at {address}/")
        except OSError:
            # Nobody reads it: no reason not to serve.
            discard_output()

    serve(database_url, host, port, guard, tell, has_page=not metrics, tags=tags)
