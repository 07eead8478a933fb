"""Which schemas this pixelmeter knows, and what to do about a ledger of another one."""

from __future__ import annotations

from pixelmeter._assets import asset_dir
from pixelmeter.errors import LedgerError, SchemaOutdated, SchemaTooNew

__all__ = ["VERSION_TABLE", "check", "revisions"]

VERSION_TABLE = "pixelmeter_schema"


def revisions() -> tuple[str, ...]:
    """Return every schema revision of this pixelmeter, oldest first; each migration file's name begins with its own.

    Read from the file names because a program that only writes should not pay for importing Alembic.
    """
    files = (asset_dir("migrations") / "versions").glob("[0-9]*_*.py")
    return tuple(sorted(file.name.partition("_")[0] for file in files))


def check(found: str | None) -> None:
    """Raise SchemaOutdated, SchemaTooNew, or LedgerError where there is no ledger, unless `found` is what we need."""
    known = revisions()
    if found == known[-1]:
        return
    if found is None:
        raise LedgerError("there is no ledger in this database yet: run `pixelmeter db upgrade`, or meter a call")
    if found in known:
        raise SchemaOutdated(
            f"the ledger has schema {found} and this pixelmeter needs {known[-1]}: run `pixelmeter db upgrade`"
        )
    raise SchemaTooNew(
        f"the ledger has schema {found}, made by a newer pixelmeter; this one knows up to {known[-1]}: "
        "upgrade the package with `pip install --upgrade pixelmeter`"
    )
