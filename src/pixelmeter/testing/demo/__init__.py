"""What `pixelmeter demo` does: image calls of every kind through real clients, and the ledger against the bill."""

from __future__ import annotations

from pixelmeter.testing.demo.run import TAG, Books, Result, new_ledger, run

__all__ = ["TAG", "Books", "Result", "new_ledger", "run"]
