"""Where the files are that ship beside the code."""

from __future__ import annotations

from pathlib import Path


def asset_dir(name: str) -> Path:
    """Return the folder `name`: inside the package when it is installed, at the top of a checkout otherwise."""
    # Where a checkout is reached through a link, what lies beside it is where the link leads.
    here = Path(__file__).resolve()
    packaged = here.parent / name
    return packaged if packaged.is_dir() else here.parents[2] / name
