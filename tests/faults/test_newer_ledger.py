"""A ledger that a newer pixelmeter upgrades under a running program: that stops writing, and nothing is lost."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pixelmeter.core.attempts.record import FIELDS
from pixelmeter.ledger import migrate
from pixelmeter.meter import Meter
from pixelmeter.testing.handle import Gateway
from tests.faults.support import Place, call
from tests.ledger.reading import recomputed, recomputed_totals, rollup, stored, totals

pytestmark = pytest.mark.slow

NEWER = '''
"""A column that writers who do not know it leave NULL."""

import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = "{head}"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("pixelmeter_attempts", sa.Column("newer", sa.Text))


def downgrade() -> None:
    op.drop_column("pixelmeter_attempts", "newer")
'''


COLUMN = 'Column("newer", Text),'


def put(file: Path, old: str, new: str) -> None:
    """Replace what must be in a file once."""
    before, after = file.read_text().split(old)
    file.write_text(before + new + after)


@pytest.fixture
def newer(tmp_path: Path) -> Callable[..., str]:
    """Run Python with a pixelmeter that has one more migration and field; returns what it prints."""
    root = Path(__file__).parents[2]
    package = tmp_path / "newer"
    # What is compiled comes along: each test would have to compile the whole package.
    shutil.copytree(root / "src", package / "src")
    shutil.copytree(root / "migrations", package / "migrations")
    head = migrate.head()
    revision = f"{int(head) + 1:04d}"
    (package / "migrations" / "versions" / f"{revision}_newer.py").write_text(
        NEWER.format(revision=revision, head=head)
    )
    last = FIELDS[-1]
    put(
        package / "src/pixelmeter/core/attempts/record.py", "\n\n\nFIELDS", "\n    newer: str | None = None\n\n\nFIELDS"
    )
    put(package / "src/pixelmeter/ledger/schema.py", f'Column("{last}", Text),', f'Column("{last}", Text), {COLUMN}')

    def run(*arguments: str) -> str:
        environment = {**os.environ, "PYTHONPATH": str(package / "src")}
        done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=environment)
        assert 0 == done.returncode, done.stderr
        return done.stdout

    return run


@pytest.fixture
def place(gateway: Gateway, new_url: str, tmp_path: Path) -> Place:
    """A gateway, a ledger that does not exist yet on each database, and a spool folder."""
    return Place(gateway.url, new_url, str(tmp_path / "spool"))


@pytest.fixture
def meter(place: Place, newer: Callable[..., str]) -> Meter:
    """A meter that has written, and whose call from after an upgrade waits in the spool."""
    meter = place.meter()
    call(place, meter, "before")
    assert meter.flush(60)
    newer("-m", "pixelmeter", "db", "upgrade", "--database-url", place.ledger)
    call(place, meter, "after")
    assert not meter.flush(0.5)
    while meter.status()["ledger_error"] is None:
        assert not meter.flush(0.5)
    return meter


@pytest.mark.parametrize("new_url", ["postgres", pytest.param("sqlite", marks=pytest.mark.slow)], indirect=True)
def test_a_program_that_was_connected_before_stops_writing_and_goes_on_after_a_downgrade(
    place: Place, meter: Meter, newer: Callable[..., str]
) -> None:
    for _ in range(2):
        assert not meter.flush(0.5)
        assert "SchemaTooNew" in str(meter.status()["ledger_error"])
        assert "pip install --upgrade pixelmeter" in str(meter.status()["ledger_error"])
    assert not meter.close(0.5)
    assert ["before"] == tags(place.ledger)
    assert 1 == len(list(Path(place.spool).rglob("*.spool")))

    newer("-m", "pixelmeter", "db", "downgrade", migrate.head(), "--yes", "--database-url", place.ledger)

    assert meter.flush(60)
    assert meter.close(60)
    agree(place)


@pytest.mark.parametrize("new_url", ["sqlite", pytest.param("postgres", marks=pytest.mark.slow)], indirect=True)
def test_the_newer_package_takes_in_what_it_left(
    place: Place, meter: Meter, newer: Callable[..., str], tmp_path: Path
) -> None:
    assert not meter.close(0.5)
    shutil.copytree(place.spool, tmp_path / "left")
    adopt = f"from pixelmeter.upkeep import adopt; from pixelmeter.settings import Settings; \
print(adopt({place.ledger!r}, Settings(spool_dir={str(tmp_path / 'left')!r})))"

    assert "1\n" == newer("-c", adopt)

    agree(place)


def agree(place: Place) -> None:
    """Check that both calls are in the ledger, and the sums with them."""
    assert ["after", "before"] == tags(place.ledger)
    assert recomputed(place.ledger) == rollup(place.ledger)
    assert recomputed_totals(place.ledger) == totals(place.ledger)


def tags(url: str) -> list[str]:
    return sorted(attempt.tags.removeprefix('{"aig_tag":"').removesuffix('"}') for attempt in stored(url).values())
