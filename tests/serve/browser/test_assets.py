"""The files that browsers get are those of the package that is pinned, and ask for nothing elsewhere."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

from tests.serve.browser.sample import STATIC

CHECKOUT = Path(__file__).parents[3]
VENDOR = STATIC / "vendor"


def test_each_vendored_file_has_the_hash_of_the_manifest() -> None:
    manifest = json.loads((VENDOR / "manifest.json").read_text())
    found = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in VENDOR.iterdir()
        if path.name != "manifest.json"
    }

    assert manifest["sha256"] == found


def test_the_vendored_version_is_the_pinned_one_and_has_its_licence() -> None:
    manifest = json.loads((VENDOR / "manifest.json").read_text())
    pinned = json.loads((CHECKOUT / "scripts" / "assets" / "package.json").read_text())["dependencies"]

    assert pinned == {manifest["name"]: manifest["version"]}
    assert f"(v{manifest['version']})" in (VENDOR / "uPlot.iife.min.js").read_text()[:100]
    assert "Permission is hereby granted" in (VENDOR / "uPlot.LICENSE.txt").read_text()


def test_own_files_name_no_address() -> None:
    # The name of SVG's language is no address that anybody asks.
    names = {
        path.name: re.findall(
            r"(?:https?:)?//[\w.]+\.\w+|@import|url\((?!#)", path.read_text().replace("http://www.w3.org/2000/svg", "")
        )
        for path in STATIC.iterdir()
        if path.is_file()
    }

    assert {"page.css", "page.js", "icon.svg"} <= set(names)
    assert not {name: found for name, found in names.items() if found}


def test_locked_packages_name_no_registry() -> None:
    for folder in (CHECKOUT / "scripts" / "assets", CHECKOUT / "tests" / "serve" / "browser"):
        packages = json.loads((folder / "package-lock.json").read_text())["packages"]
        locked = {name: package for name, package in packages.items() if name}
        assert all(package["integrity"].startswith("sha512-") for package in locked.values())
        assert not [name for name, package in locked.items() if "resolved" in package]
