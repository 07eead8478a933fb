"""Write dashboards/, and where its files hold thresholds, as `scripts/dashboards/` makes them.

python -m scripts.make_dashboards
"""

from __future__ import annotations

from pathlib import Path

from pixelmeter.monitoring import PLACES, Thresholds, write
from scripts.dashboards.export import files
from scripts.dashboards.places import places, to_json

OUTPUT = Path(__file__).parents[1] / "dashboards"


def main() -> None:
    """Write every file with the default thresholds."""
    write(OUTPUT, files(Thresholds()), force=True)
    PLACES.write_text(to_json(places()), encoding="utf-8")


if __name__ == "__main__":
    main()
