"""Where the files are that ship beside the code."""

from __future__ import annotations

from pathlib import Path


def asset_dir(name: str) -> Path:
    """Return the folder `name`: inside the package when it is installed, at the top of a checkout otherwise."""
    packaged = Path(__file__).parent / name
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / name
