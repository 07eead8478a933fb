"""Kills the proxy in the middle of calls as often as is asked for, and compares the ledger with the bill.

python -m scripts.kill_proxy [ROUNDS]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.proxy.test_kill import check_rounds


def main() -> None:
    """Run the rounds, fifty without an argument, and print the counts."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    with tempfile.TemporaryDirectory() as folder:
        counts = check_rounds(Path(folder), f"sqlite:///{folder}/ledger.db", rounds)
    sys.stdout.write(f"{counts}\n")


if __name__ == "__main__":
    main()
