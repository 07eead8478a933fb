"""A reconciliation as rows: a line for each class, and what is in them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pixelmeter.core.reconciling.ours import MISSING, Ours
from pixelmeter.core.reconciling.result import Class, Match, OnlyTheirs, Result
from pixelmeter.core.reconciling.settling import Settlement
from pixelmeter.core.reconciling.statement import Statement
from pixelmeter.core.reporting.periods import moment_of
from pixelmeter.core.text import exact_usd, plural
from pixelmeter.reconcile.service import Plan, Report

__all__ = ["ITEM_COLUMNS", "SUMMARY_COLUMNS", "is_open", "items", "remarks", "summary", "told_of"]

SUMMARY_COLUMNS = ("class", "matches", "statements", "attempts", "theirs_usd", "ours_usd", "difference_usd")
ITEM_COLUMNS = (
    "class", "by", "time", "model", "theirs_usd", "ours_usd", "difference_usd", "statements", "statement", "attempts",
    "attempt", "why",
)  # fmt: skip

_TOO_YOUNG = "too young to be missed"


def summary(result: Result) -> list[dict[str, Any]]:
    """Return a row for each class, with how many are in it and what they come to."""
    rows = [_of_matches(kind, list(result.of_kind(kind))) for kind in ("equal", "differs", "unsettled")]
    theirs = [one.statement for one in result.only_theirs]
    rows.append({**_row("only_ours", None, (), result.only_ours), "theirs_usd": None})
    rows.append({**_row("only_theirs", None, theirs, ()), "ours_usd": None})
    rows.append(_row("too_young", None, result.young_statements, result.young_attempts))
    return rows


def items(result: Result, shown: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Yield what is in these classes, each in the order of time."""
    wanted = set(shown)
    for kind in ("equal", "differs", "unsettled"):
        if kind in wanted:
            yield from (_match(kind, one) for one in result.of_kind(kind))
    if "only_ours" in wanted:
        yield from (_ours("only_ours", one, MISSING[one.missing]) for one in result.only_ours)
    if "only_theirs" in wanted:
        yield from map(_theirs, result.only_theirs)
    if "too_young" in wanted:
        yield from (_statement("too_young", one, _TOO_YOUNG) for one in result.young_statements)
        yield from (_ours("too_young", one, _TOO_YOUNG) for one in result.young_attempts)


def open_items(result: Result) -> int:
    """Return how many differences there are that somebody has to look at: nobody asks about rows of nothing."""
    return (
        sum(one.kind != "equal" for one in result.matches)
        + len(result.only_ours)
        + sum(one.statement.amount != 0 for one in result.only_theirs)
    )


def is_open(plan: Plan, report: Report) -> bool:
    """Return whether anything is left: a difference, or a row that could not be read."""
    return bool(open_items(plan.result) or report.reading.problems)


def remarks(plan: Plan) -> Iterator[str]:
    """Yield what the classes do not say."""
    result = plan.result
    byok = len(result.byok) + len(result.own_key)
    if byok:
        yield f"{plural(byok, 'attempt')} with a key of your own: left out, as the gateway bills its fee only"
    if result.not_charged:
        yield f"{plural(len(result.not_charged), 'attempt')} that cost nothing: rightly on no statement"
    if result.not_covered:
        yield f"{plural(len(result.not_covered), 'attempt')} from before what the report goes back to: not missed"
    if plan.not_asked:
        yield f"{plural(plan.not_asked, 'attempt')} of known cost: the report was not asked for them"
    unknown = sum(one.unknown for one in result.matches if one.how == "sums")
    if unknown:
        yield f"{plural(unknown, 'attempt')} of unknown cost in sums: nobody can say what each cost"
    for one in plan.by_hand:
        yield f"{_settled(one)}: it was corrected by hand, and stays as it is"
    for one in plan.gone:
        yield f"{_settled(one)}: the ledger has no such attempt any more"


def told_of(item: dict[str, Any]) -> str:
    """Return what an item is about, and what it is matched by or why it is not: what a table has below its row."""
    if item["by"] == "sums":
        said = f"sums of {plural(item['statements'], 'statement')} and {plural(item['attempts'], 'attempt')}"
        return f"{said}, {item['why']}" if item["why"] else said
    about = [f"{name} {item[name]}" for name in ("attempt", "statement") if item[name]]
    return f"{', '.join(about)}: {'by ' + item['by'].replace('_', ' ') if item['by'] else item['why']}"


def _settled(one: Settlement) -> str:
    said = "no statement" if one.statement is None else f"statement {one.statement.external_id}"
    return f"attempt {one.attempt.id}, {said}"


def _of_matches(kind: Class, matches: Sequence[Match]) -> dict[str, Any]:
    statements = [one for match in matches for one in match.statements]
    attempts = [one for match in matches for one in match.attempts]
    row = _row(kind, len(matches), statements, attempts)
    return {**row, "difference_usd": exact_usd(sum(one.drift for one in matches)) if kind != "unsettled" else None}


def _row(kind: Class, matches: int | None, theirs: Sequence[Statement], ours: Sequence[Ours]) -> dict[str, Any]:
    return {
        "class": kind,
        "matches": matches,
        "statements": len(theirs),
        "attempts": len(ours),
        "theirs_usd": _usd(one.amount for one in theirs),
        "ours_usd": _usd(one.cost for one in ours),
        "difference_usd": None,
    }


def _match(kind: str, one: Match) -> dict[str, Any]:
    is_single = one.how != "sums"
    at = _time(one.statements[0].starts_at) if is_single else one.day.isoformat()
    difference = None if kind == "unsettled" else exact_usd(one.drift)
    return {
        "class": kind,
        "by": one.how,
        "time": at,
        "model": one.model,
        "theirs_usd": None if one.theirs is None else exact_usd(one.theirs),
        "ours_usd": None if one.ours is None else exact_usd(one.ours),
        "difference_usd": difference,
        "statements": len(one.statements),
        "statement": one.statements[0].external_id if len(one.statements) == 1 else None,
        "attempts": len(one.attempts),
        "attempt": one.attempts[0].id if len(one.attempts) == 1 else None,
        "why": f"{plural(one.unknown, 'attempt')} of unknown cost" if one.unknown else None,
    }


def _theirs(one: OnlyTheirs) -> dict[str, Any]:
    why = "no attempt belongs to it" if one.gone is None else f"its attempt {one.gone} is not in the ledger any more"
    return _statement("only_theirs", one.statement, why)


def _statement(kind: Class, one: Statement, why: str) -> dict[str, Any]:
    at = _time(one.starts_at) if one.grain == "request" else _time(one.starts_at)[:10]
    return {
        "class": kind, "by": None, "time": at, "model": one.model, "theirs_usd": _usd([one.amount]), "ours_usd": None,
        "difference_usd": None, "statements": 1, "statement": one.external_id, "attempts": 0, "attempt": None,
        "why": why,
    }  # fmt: skip


def _ours(kind: Class, one: Ours, why: str) -> dict[str, Any]:
    return {
        "class": kind, "by": None, "time": _time(one.started_at), "model": one.model or None, "theirs_usd": None,
        "ours_usd": _usd([one.cost]), "difference_usd": None, "statements": 0, "statement": None, "attempts": 1,
        "attempt": one.id, "why": why,
    }  # fmt: skip


def _usd(amounts: Iterable[int | None]) -> str | None:
    """Return the sum of the amounts that are known; None where there are some, and none of them is."""
    every = list(amounts)
    known = [amount for amount in every if amount is not None]
    return exact_usd(sum(known)) if known or not every else None


def _time(microseconds: int) -> str:
    return f"{moment_of(microseconds):%Y-%m-%dT%H:%M:%SZ}"
