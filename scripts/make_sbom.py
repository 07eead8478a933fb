"""Writes an SBOM of the wheel with all extras, in the locked versions: `python -m scripts.make_sbom DIST FILE`.

CycloneDX, as JSON. What is listed is an environment that has what the wheel asks for and nothing else, linked from the
one that runs this.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from tests.project.environments import make, metadata


def main(dist: Path, file: Path) -> None:
    """Write the SBOM of the wheel in a folder."""
    [wheel] = dist.glob("pixelmeter-*.whl")
    [name], [version] = (metadata(wheel)[field] for field in ("Name", "Version"))
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        environment = make(Path(folder, "environment"), wheel, ["all"])
        # What the wheel is; the project's own file leaves its version to the build.
        about = Path(folder, "pyproject.toml")
        about.write_text(f'[project]\nname = "{name}"\nversion = "{version}"\n')
        listed = [str(Path(sys.executable).with_name("cyclonedx-py")), "environment", "--output-reproducible"]
        listed += ["--pyproject", str(about), "--mc-type", "library", "--of", "JSON", "-o", str(file)]
        subprocess.run([*listed, environment.python], check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
