"""Every file that a monitoring system can take: as text, and in a folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pixelmeter.errors import ConfigError
from pixelmeter.monitoring import grafana, prometheus_files
from pixelmeter.monitoring.thresholds import Thresholds

__all__ = ["State", "files", "write"]

State = Literal["new", "changed", "unchanged"]


def files(thresholds: Thresholds) -> dict[str, str]:
    """Return the text of each file by its path below the folder of dashboards, "/" between its parts."""
    return prometheus_files.files(thresholds) | grafana.files(thresholds)


def write(folder: Path, texts: Mapping[str, str], *, force: bool = False) -> dict[str, State]:
    """Write files into a folder, which is made if need be; return what became of each.

    Raises ConfigError, with nothing written, when a file is there with another text and `force` is not set; and when
    the folder cannot be written to.
    """
    try:
        states: dict[str, State] = {name: _state(folder / name, text) for name, text in texts.items()}
        changed = [name for name, state in states.items() if state == "changed"]
        if changed and not force:
            raise ConfigError(f"{folder} has files that would change ({', '.join(changed)}): --force replaces them")
        for name, state in states.items():
            if state != "unchanged":
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(texts[name].encode())
    except OSError as error:
        raise ConfigError(f"{error.filename or folder} cannot be written: {error.strerror}") from error
    return states


def _state(path: Path, text: str) -> State:
    try:
        return "unchanged" if path.read_bytes() == text.encode() else "changed"
    except FileNotFoundError:
        return "new"
