"""Copy uPlot into the page's static files, with its licence and the SHA-256 of each file: `make assets`.

`scripts/assets/package-lock.json` has the version and the hash of the package, which npm has checked by then.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

TOP = Path(__file__).parents[1]
PACKAGE = TOP / ".cache" / "assets" / "node_modules" / "uplot"
OUTPUT = TOP / "src" / "pixelmeter" / "serve" / "page" / "static" / "vendor"
COPIED = {
    "dist/uPlot.iife.min.js": "uPlot.iife.min.js",
    "dist/uPlot.min.css": "uPlot.min.css",
    "LICENSE": "uPlot.LICENSE.txt",
}
"""Files of the package, and their names among ours."""


def main() -> None:
    """Write the files and manifest.json; nothing else is left in the folder."""
    shutil.rmtree(OUTPUT, ignore_errors=True)
    OUTPUT.mkdir(parents=True)
    for source, name in COPIED.items():
        shutil.copyfile(PACKAGE / source, OUTPUT / name)
    package = json.loads((PACKAGE / "package.json").read_text())
    manifest = {
        "name": package["name"],
        "version": package["version"],
        "licence": package["license"],
        "sha256": {name: hashlib.sha256((OUTPUT / name).read_bytes()).hexdigest() for name in sorted(COPIED.values())},
    }
    (OUTPUT / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")


if __name__ == "__main__":
    main()
