"""What the build adds to pyproject.toml: the project's links, and its README as it reads away from the repository."""

from __future__ import annotations

import re
import runpy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

_FENCED = re.compile(r"(^```.*?^```$)", re.DOTALL | re.MULTILINE)
_PICTURE = re.compile(r"!\[([^\]\n]*)\]\((?!https?://)([^)\s]+)\)")
_LINK = re.compile(r"(?<!!)\[([^\]\n]+)\]\((?!https?://|#)([^)\s]+)\)")


class ProjectHook(MetadataHookInterface):
    """Fills the fields `readme` and `urls`."""

    PLUGIN_NAME = "custom"

    def update(self, metadata: dict[str, Any]) -> None:
        """Add both fields to those of pyproject.toml."""
        known = runpy.run_path(str(Path(self.root, "src", "pixelmeter", "_version.py")))
        address, version = known["ADDRESS"], known["__version__"]
        text = Path(self.root, "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {"content-type": "text/markdown", "text": readme(text, address, version)}
        metadata["urls"] = dict(urls(address, version))


def urls(address: str, version: str) -> Mapping[str, str]:
    """Return the links of a release, by the names that PyPI knows; none without an address."""
    if not address:
        return {}
    return {
        "Repository": address,
        "Documentation": f"{address}/blob/v{version}/docs/index.md",
        "Changelog": f"{address}/blob/v{version}/CHANGELOG.md",
        "Issues": f"{address}/issues",
    }


def readme(text: str, address: str, version: str) -> str:
    """Return the README with links to the files of a release; without an address, with their text alone."""
    if address:
        picture, link = rf"![\1]({address}/raw/v{version}/\2)", rf"[\1]({address}/blob/v{version}/\2)"
    else:
        picture, link = "", r"\1"
    return "".join(
        part if part.startswith("```") else _LINK.sub(link, _PICTURE.sub(picture, part)) for part in _FENCED.split(text)
    )
