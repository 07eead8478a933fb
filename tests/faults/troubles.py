"""Programs whose disk refuses them for a while: `python -m tests.faults.troubles NAME GATEWAY LEDGER SPOOL`.

Each calls before, during and after the trouble, and says as JSON what the meter said of it.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys
from collections.abc import Callable
from pathlib import Path

from pixelmeter.meter import Meter
from tests.faults.support import Place, call

NOBODY = 65534


def cannot_write_the_ledger(place: Place) -> None:
    """The ledger and its folder are read-only for a while."""
    ledger = Path(place.ledger.removeprefix("sqlite:///"))
    meter = _start(place)
    meter.close(60)
    ledger.chmod(0o444)
    ledger.parent.chmod(0o555)
    _go_on(place, meter)
    ledger.parent.chmod(0o755)
    ledger.chmod(0o644)
    _end(place, meter)


def cannot_write_the_spool(place: Place) -> None:
    """The spool folder is read-only for a while."""
    meter = _start(place)
    meter.close(60)
    folder = meter.status()["spool_dir"]
    os.chmod(folder, 0o555)
    _go_on(place, meter)
    os.chmod(folder, 0o755)
    _end(place, meter)


def has_a_full_disk(place: Place) -> None:
    """No file can grow for a while."""
    meter = _start(place)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, limits[1]))
    _go_on(place, meter)
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    _end(place, meter)


def _start(place: Place) -> Meter:
    # While it may read them: an interpreter in a home folder is closed to nobody.
    for late in ("encodings.idna", "pixelmeter.ledger.sqlite"):
        importlib.import_module(late)
    if os.geteuid() == 0:
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    meter = place.meter()
    call(place, meter, "before")
    assert meter.flush(20)
    return meter


def _go_on(place: Place, meter: Meter) -> None:
    answers = [call(place, meter, f"during-{number}") for number in range(3)]
    flushed = meter.flush(0.5)
    while not flushed and meter.status()["ledger_error"] is None:
        flushed = meter.flush(0.5)
    _say({"answers": answers, "flushed": flushed, **meter.status()})


def _end(place: Place, meter: Meter) -> None:
    answers = [call(place, meter, "after")]
    _say({"answers": answers, "flushed": meter.flush(20), **meter.status()})


def _say(document: object) -> None:
    sys.stdout.write(json.dumps(document) + "\n")


if __name__ == "__main__":
    program: Callable[[Place], None] = globals()[sys.argv[1]]
    program(Place(*sys.argv[2:]))
