"""A process that takes over what dead processes left: `python -m tests.faults.adopter FOLDER URL`."""

from __future__ import annotations

import sys

from pixelmeter.drain import Drain
from pixelmeter.ledger.writer import open_writer
from pixelmeter.spool import Spool, sorted_out
from pixelmeter.system import SystemFiles, SystemIds


def main(folder: str, url: str) -> None:
    files = SystemFiles()
    drain = Drain(Spool(folder, files, SystemIds()), files, folder, open_writer(url))
    # The other adopters hold some of them for a moment.
    while sorted_out(files.list(folder)).spooled:
        drain.adopt()
    drain.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
