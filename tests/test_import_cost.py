"""`import pixelmeter` and its names are cheap, since whatever is large waits for its first use."""

from __future__ import annotations

import subprocess
import sys

import pytest

LATE = [
    "aigateway",
    "alembic",
    "click",
    "httpx",
    "httpx2",
    "openai",
    "opentelemetry",
    "prometheus_client",
    "rich",
    "sqlalchemy",
]


@pytest.fixture(scope="module")
def imported() -> set[str]:
    """The top-level names of all modules that a fresh interpreter has after the names of `pixelmeter` were used."""
    show = "from pixelmeter import *; import sys; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", show], check=True, capture_output=True, text=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("library", LATE)
def test_a_library_is_not_imported_before_it_is_used(imported: set[str], library: str) -> None:
    assert "pixelmeter" in imported
    assert library not in imported


def test_an_import_starts_no_thread() -> None:
    show = "from pixelmeter import *; import threading; print(threading.active_count())"
    done = subprocess.run([sys.executable, "-c", show], check=True, capture_output=True, text=True)

    assert "1" == done.stdout.strip()
