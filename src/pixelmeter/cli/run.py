"""`pixelmeter run`."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence

import click

from pixelmeter.cli.options import read_tags

__all__ = ["command"]

_LAUNCH = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "launch")
# As a shell has them.
_NOT_EXECUTABLE, _NOT_FOUND = 126, 127


@click.command(context_settings={"allow_interspersed_args": False})
@click.option(
    "--database-url",
    metavar="URL",
    show_default="PIXELMETER_DATABASE_URL, else sqlite:///pixelmeter.db",
    help="The ledger: sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE.",
)
@click.option(
    "--tag",
    "tags",
    metavar="KEY=VALUE",
    multiple=True,
    callback=read_tags,
    help="A tag for every attempt, besides those of PIXELMETER_TAGS; repeatable.",
)
@click.argument("words", metavar="COMMAND [ARGS]...", nargs=-1, type=click.UNPROCESSED, required=True)
def command(database_url: str | None, tags: Mapping[str, str], words: Sequence[str]) -> None:
    """Run a Python program and meter its image calls, without a change to its code.

    \b
    pixelmeter run -- python app.py
    pixelmeter run -- gunicorn --workers 4 web:app
    pixelmeter run --tag team=growth -- -m jobs.nightly

    COMMAND replaces this process: it gets its input, output and signals, and its exit status is that of COMMAND. Where
    COMMAND begins with an option of Python (-m, -c), the Python that runs pixelmeter runs it. Python processes that the
    program starts are metered too; docs/zero-code.md says which are not.
    """
    environment = {**os.environ, **_settings(database_url, tags)}
    # An empty variable is none, but an empty folder in it is the current one.
    given = environment.get("PYTHONPATH")
    others = [path for path in given.split(os.pathsep) if path != _LAUNCH] if given else []
    environment["PYTHONPATH"] = os.pathsep.join((_LAUNCH, *others))
    # For processes that take no PYTHONPATH, or one of their own, where pixelmeter-auto is installed.
    environment["PIXELMETER_AUTO"] = "1"
    _become([sys.executable, *words] if words[0].startswith("-") else words, environment)


def _settings(database_url: str | None, tags: Mapping[str, str]) -> Mapping[str, str]:
    """Return the variables that the options stand for; ConfigError for what cannot be used."""
    found: dict[str, str] = {}
    if database_url is not None:
        from pixelmeter.ledger.address import absolute_url, read_address

        found["PIXELMETER_DATABASE_URL"] = absolute_url(database_url)
        read_address(found["PIXELMETER_DATABASE_URL"])
    if tags:
        import json

        from pixelmeter.settings import from_environment
        from pixelmeter.tagging import checked

        found["PIXELMETER_TAGS"] = json.dumps(dict(checked({**from_environment().tags, **tags})))
    return found


def _become(words: Sequence[str], environment: Mapping[str, str]) -> None:
    """Have the command take this process's place."""
    program = shutil.which(words[0])
    if program is None:
        click.echo(f"Error: there is no command {words[0]!r}: give its path, or one that PATH has", err=True)
        sys.exit(_NOT_FOUND)
    if os.name == "nt":
        # There, a program that is started in the place of this one is another process, and nobody waits for it.
        sys.exit(subprocess.call([program, *words[1:]], env=environment))
    for name in ("SIGPIPE", "SIGXFSZ"):
        # Python ignores them, and what it starts would do so as well.
        signal.signal(getattr(signal, name), signal.SIG_DFL)
    try:
        os.execve(program, list(words), environment)
    except OSError as error:
        click.echo(f"Error: {program} cannot be run: {error.strerror}", err=True)
        sys.exit(_NOT_EXECUTABLE)
