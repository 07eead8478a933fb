"""Ledgers to export, and what the command does with them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
from click.testing import CliRunner, Result

from pixelmeter.cli import main
from pixelmeter.core.attempts.record import Attempt
from tests.ledger.test_adjusted_queries import drawn, write
from tests.ledger.test_queries import varied

PARTS = (
    '[{"of":"token_cost","model":"openai/gpt-image-2","unit":"usd_per_1m_output_image_tokens","quantity":1057,'
    '"price":"40","atto":"42280000000000000","price_id":"p@1"},'
    '{"of":"token_cost","model":"openai/gpt-image-2","unit":"usd_per_1m_input_text_tokens","quantity":13,'
    '"price":"5","atto":"65000000000000","price_id":"p@1"}]'
)
"""Parts of a cost of 42,345,000 nano-dollars."""

HOSTILE = ['=cmd|"/c calc"!A0', "+1", "-1", "@x", 'quote " and , comma', "line\nbreak", "ü漢\u2028", "'", "\ttab"]


def filled(url: str) -> dict[str, Attempt]:
    """Fill a ledger with attempts of a week, half of them with adjustments; return them as they are now, by id."""
    written = varied(300, "2026-03-25T12:00:00+00:00", 7)
    now = {one.id: one for one in written}
    for seed in (1, 2):
        after = dict(drawn(list(now.values()), seed))
        write(url, written if seed == 1 else [], after)
        now |= {key: msgspec.structs.replace(now[key], **fields) for key, fields in after.items()}
    return now


def export(url: str, *arguments: str | Path) -> Result:
    """Run `pixelmeter export`, and fail where it does."""
    result = run(url, *arguments)
    assert 0 == result.exit_code, result.output
    return result


def run(url: str, *arguments: str | Path) -> Result:
    """Run `pixelmeter export`."""
    return CliRunner().invoke(main, ["export", "--database-url", url, *map(str, arguments)], catch_exceptions=False)


def day_of(attempt: Attempt) -> str:
    """Return the UTC day on which an attempt started."""
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=attempt.started_at)).date().isoformat()


def in_order(attempts: Iterable[Attempt]) -> list[Attempt]:
    """Return attempts as exports have them."""
    return sorted(attempts, key=lambda one: (one.started_at, one.id))


def contents(folder: Path) -> Mapping[str, bytes]:
    """Return every file below a folder, but for its lock."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "lock"
    }
