"""The pages on alerts: what each one means and what to do about it, for the export and for the page of `serve`."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping

from pixelmeter.data_files import asset_dir
from pixelmeter.errors import ConfigError

__all__ = ["INDEX", "alert_pages"]

INDEX = "alerts.md"
"""The page that lists all alerts."""

_RUNBOOKS = "runbooks"
_LINK = re.compile(r"\[([^\]]+)\]\(([^)\s]+)\)")


def alert_pages() -> dict[str, str]:
    """Return the Markdown of each page by its path, the index first: `alerts.md`, `runbooks/NAME.md`.

    Their links lead from one of them to another; other links to pages of the docs are only their text. Raises
    ConfigError where the pages are missing.
    """
    folder = asset_dir("docs")
    try:
        paths = [folder / INDEX, *sorted((folder / _RUNBOOKS).glob("*.md"))]
        texts = {path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8") for path in paths}
    except OSError as error:
        raise ConfigError(f"{folder} is not as it came with pixelmeter: install pixelmeter again") from error
    return {name: _within(texts, name) for name in texts}


def _within(texts: Mapping[str, str], name: str) -> str:
    """Return a page without the links that lead to no other page."""

    def kept(link: re.Match[str]) -> str:
        text, target = link.groups()
        path = target.partition("#")[0]
        if not path or "://" in path or _resolved(name, path) in texts:
            return link[0]
        return text

    return _LINK.sub(kept, texts[name])


def _resolved(name: str, path: str) -> str:
    """Return where a link of a page leads to, as a path among the pages."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(name), path))
