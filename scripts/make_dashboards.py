"""Bring dashboards/ up to date with the package and its default thresholds.

python -m scripts.make_dashboards
"""

from __future__ import annotations

from pathlib import Path

from pixelmeter.monitoring.export import files, write
from pixelmeter.monitoring.thresholds import Thresholds

OUTPUT = Path(__file__).parents[1] / "dashboards"


def main() -> None:
    """Write every file that the package makes."""
    write(OUTPUT, files(Thresholds()), force=True)


if __name__ == "__main__":
    main()
