"""`python -m pixelmeter` is the `pixelmeter` command."""

from __future__ import annotations

from pixelmeter.cli import main

main(prog_name="pixelmeter")
