"""A file of budgets in TOML: one table [[budget]] each, with what `pixelmeter.Budget` takes."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, cast

from pixelmeter.core.budgets.budget import Budget
from pixelmeter.core.toml import TomlError, line_at, parse
from pixelmeter.data_files import UnreadableFile, read_text
from pixelmeter.errors import ConfigError

__all__ = ["BudgetFile", "budgets_of", "check", "load_budgets"]


class BudgetFile(NamedTuple):
    """What a file says: its budgets, and what is wrong with it, by lines (the first is 1)."""

    budgets: list[Budget]
    problems: list[tuple[int, str]]


def budgets_of(path: str | None, given: Sequence[Budget]) -> list[Budget]:
    """Return the budgets of a file and of the program; of two with the same name, that of the program. ConfigError."""
    for each in given:
        if not isinstance(each, Budget):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigError(f"budgets has a {type(each).__name__}: give pixelmeter.Budget(...)")
    found = {budget.name: budget for budget in ([] if path is None else load_budgets(path))}
    names = [budget.name for budget in given]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ConfigError(f"two budgets have the name {twice!r}: give one of them another name")
    return list({**found, **dict(zip(names, given, strict=True))}.values())


def load_budgets(path: str) -> list[Budget]:
    """Return the budgets of a file; ConfigError names the line of what is wrong."""
    budgets, problems = check(path)
    if problems:
        line, message = problems[0]
        raise ConfigError(f"budgets {path}:{line}: {message}")
    return budgets


def check(path: str) -> BudgetFile:
    """Read a file of budgets; ConfigError where it cannot be read at all."""
    try:
        text = read_text(Path(path))
    except UnreadableFile as error:
        raise ConfigError(f"budgets {path} cannot be read: {error}") from None
    try:
        document = parse(text)
    except TomlError as error:
        return BudgetFile([], [(error.line, str(error))])
    budgets: list[Budget] = []
    problems: list[tuple[int, str]] = []
    seen: set[str] = set()
    for where, table, wrong in _tables(document):
        if wrong is not None:
            problems.append((line_at(text, where), wrong))
            continue
        try:
            budget = Budget(**table)
        except ConfigError as error:
            key = "thresholds" if str(error).startswith("a threshold") else str(error).partition(" ")[0]
            problems.append((line_at(text, f"{where}.{key}"), str(error)))
            continue
        if budget.name in seen:
            problems.append((line_at(text, where), f"there is a budget {budget.name!r} already: give it another name"))
            continue
        seen.add(budget.name)
        budgets.append(budget)
    if not document:
        problems.append((1, "there is no budget in it: write [[budget]] with usd = 50"))
    return BudgetFile(budgets, problems)


def _tables(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], str | None]]:
    """Yield where each table of a document is, the table, and why it is none of a budget."""
    for name, value in document.items():
        if name != "budget":
            first = "[0]" if isinstance(value, list) else ""
            yield f"$.{name}{first}", {}, f"{name[:40]!r} is no key here: write [[budget]]"
        elif not isinstance(value, list) or any(type(each) is not dict for each in cast("list[object]", value)):
            yield "$.budget", {}, "budget is no list of tables: write [[budget]], with two brackets"
        else:
            for at, table in enumerate(cast("list[dict[str, Any]]", value)):
                where = f"$.budget[{at}]"
                unknown = next((key for key in table if key not in _keys()), None)
                if unknown is not None:
                    known = ", ".join(_keys())
                    yield f"{where}.{unknown}", table, f"{unknown[:40]!r} is no key of a budget: use {known}"
                elif "usd" not in table:
                    yield where, table, "a budget has no usd: write how much may be spent, such as usd = 50"
                else:
                    yield where, table, None


@cache
def _keys() -> tuple[str, ...]:
    return tuple(inspect.signature(Budget).parameters)
