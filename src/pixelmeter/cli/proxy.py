"""`pixelmeter proxy`."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pixelmeter.cli.options import database_url_option
from pixelmeter.cli.streams import discard_output
from pixelmeter.errors import ConfigError

if TYPE_CHECKING:
    from pixelmeter.proxy.upstreams import Upstream

__all__ = ["command"]

_FILE = click.Path(dir_okay=False, path_type=Path)
_MIB = 1024 * 1024


@click.command
@click.option(
    "--upstream",
    "upstreams",
    metavar="[/PATH=]URL",
    multiple=True,
    required=True,
    help="The gateway that gets the requests, all or those whose path begins with /PATH; repeatable.",
)
@click.option(
    "--listen",
    "listeners",
    metavar="HOST:PORT[,KEY=VALUE...]",
    multiple=True,
    default=["127.0.0.1:8088"],
    show_default=True,
    help="The address for clients, and tags for the calls that come in there; repeatable.",
)
@click.option(
    "--admin",
    metavar="HOST:PORT",
    default="127.0.0.1:8089",
    show_default=True,
    help="The address of /healthz, /readyz and /metrics.",
)
@click.option(
    "--admin-token-file", type=_FILE, help="A file with the bearer token that /metrics asks of other machines."
)
@click.option("--tls-cert", type=_FILE, help="A file with the certificate and its chain (PEM), for every --listen.")
@click.option("--tls-key", type=_FILE, help="A file with the key of the certificate (PEM).")
@click.option(
    "--token-file", type=_FILE, help="A file with the token that clients on other machines send as x-pixelmeter-token."
)
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="How many processes serve.")
@click.option(
    "--max-body",
    type=click.IntRange(1),
    default=256,
    show_default=True,
    help="How large the body of a request may be, in MiB.",
)
@click.option("--max-connections", type=click.IntRange(1), help="How many clients may be connected to each process.")
@click.option(
    "--idle-timeout",
    type=click.FloatRange(1),
    default=300.0,
    show_default=True,
    help="How many seconds a client or a gateway may send nothing during a call.",
)
@click.option(
    "--gone-timeout",
    type=click.FloatRange(0),
    default=120.0,
    show_default=True,
    help="How many seconds an image call goes on after its client has gone, to learn its cost.",
)
@click.option(
    "--stop-timeout",
    type=click.FloatRange(0),
    default=120.0,
    show_default=True,
    help="How many seconds running calls may take to end after SIGTERM.",
)
@database_url_option
def command(
    upstreams: Sequence[str],
    listeners: Sequence[str],
    admin: str,
    admin_token_file: Path | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    token_file: Path | None,
    workers: int,
    max_body: int,
    max_connections: int | None,
    idle_timeout: float,
    gone_timeout: float,
    stop_timeout: float,
    database_url: str,
) -> None:
    """Pass requests on to gateways, and meter the image calls among them.

    For programs in any language: give them the address of the proxy as base URL. Bodies and headers are passed on
    unchanged. To listen on an address that other machines reach, --tls-cert, --tls-key and --token-file are needed.
    SIGTERM and Ctrl-C end it, once running calls have ended.
    """
    if importlib.util.find_spec("aiohttp") is None:
        raise click.ClickException('the proxy needs aiohttp, which is not installed: pip install "pixelmeter[proxy]"')
    from pixelmeter.proxy.admin import AdminPort
    from pixelmeter.proxy.calls import CallLimits
    from pixelmeter.proxy.running import run_proxy
    from pixelmeter.proxy.server import Listener, Settings
    from pixelmeter.proxy.upstreams import Upstreams, read_upstream
    from pixelmeter.serve.guard import is_loopback, read_guard
    from pixelmeter.serve.listening import listen, shown, split_address

    read = [read_upstream(text) for text in upstreams]
    Upstreams(read)
    addresses = [(split_address(text.partition(",")[0]), _tags(text.partition(",")[2])) for text in listeners]
    admin_host, admin_port = split_address(admin)
    if (tls_cert is None) != (tls_key is None):
        raise click.UsageError("give --tls-cert and --tls-key together")
    guard, admin_guard = read_guard(token_file, None), read_guard(admin_token_file, None)
    elsewhere = next((host for (host, _), _ in addresses if not is_loopback(host)), None)
    if elsewhere is not None and (tls_cert is None or guard is None):
        raise click.UsageError(
            f"{elsewhere} can be reached from elsewhere: give --tls-cert, --tls-key and --token-file"
        )
    is_elsewhere = not is_loopback(admin_host)
    if is_elsewhere and admin_guard is None:
        raise click.UsageError(f"{admin_host} can be reached from elsewhere: give --admin-token-file")
    settings = Settings(
        database_url=database_url,
        upstreams=read,
        guard=guard,
        certificate=None if tls_cert is None or tls_key is None else (tls_cert, tls_key),
        calls=CallLimits(body=max_body * _MIB, idle_seconds=idle_timeout, gone_seconds=gone_timeout),
        connections=max_connections,
        stop_seconds=stop_timeout,
    )
    settings.tls()
    sockets = [
        Listener(socket=listen(host, port), tags=tags, needs_token=guard is not None)
        for (host, port), tags in addresses
    ]
    operators = listen(admin_host, admin_port)

    def tell() -> None:
        scheme = "http" if tls_cert is None else "https"
        try:
            for listener in sockets:
                click.echo(f"proxy for {_described(read)} at {shown(listener.socket, scheme)}")
            click.echo(f"health and metrics at {shown(operators, scheme if is_elsewhere else 'http')}")
        except OSError:
            # Nobody reads it: no reason not to serve.
            discard_output()

    page = AdminPort(socket=operators, guard=admin_guard, is_elsewhere=is_elsewhere)
    run_proxy(settings, sockets, page, workers=workers, ready=tell)


def _tags(text: str) -> Mapping[str, str]:
    from pixelmeter.proxy.requests import read_tags
    from pixelmeter.tagging import checked

    tags, wrong = read_tags(text.encode())
    if wrong is not None:
        raise ConfigError("the tags of a listener are KEY=VALUE, with commas between")
    return checked(tags)


def _described(upstreams: Sequence[Upstream]) -> str:
    return ", ".join(
        f"{upstream.prefix.decode()}{'=' if upstream.prefix else ''}{upstream.host}" for upstream in upstreams
    )
