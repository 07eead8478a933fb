"""What is said below a report, for people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pixelmeter.core.money import dollars
from pixelmeter.core.report import Report

__all__ = ["gateway_hint", "notes", "sparkline"]

_STROKES = "▁▂▃▄▅▆▇█"
_NOT_KNOWN = "?"
_NAMED = 5


def notes(report: Report, unpriced: Iterable[tuple[str, int]]) -> list[str]:
    """Return a sentence for each thing that the sums leave out; `unpriced` is models with their attempts."""
    said: list[str] = []
    at_risk = report.total.known_at_risk
    if at_risk is None:
        said.append("At risk: unknown; of the attempts whose billing is unknown, none can be estimated.")
    elif at_risk:
        said.append(
            f"At risk: {dollars(at_risk)} more may have been charged for attempts whose billing "
            "is unknown; the sums leave it out."
        )
    if unknown := report.total.unknown_cost_attempts:
        verb = "is" if unknown == 1 else "are"
        said.append(f"{_count(unknown, 'attempt')} of unknown cost {verb} not in the sums.")
    models: dict[str, int] = {}
    for model, number in unpriced:
        models[model] = models.get(model, 0) + number
    if models:
        missing = sum(models.values())
        verb = "has" if missing == 1 else "have"
        said.append(f"{_count(missing, 'attempt')} of {_count(len(models), 'model')} {verb} no price: {_names(models)}")
    return said


def gateway_hint(host: str, models: Mapping[str, Sequence[str]]) -> str:
    """Return what to do about a host without a profile; `models` are its models with the profiles that price them."""
    common = [name for name in next(iter(models.values())) if all(name in known for known in models.values())]
    profiles = common or list(dict.fromkeys(name for known in models.values() for name in known))
    return (
        f"{host} is no gateway that pixelmeter knows. If it is {' or '.join(profiles)} by another name, calls of "
        f"{_names(models)} get a price from then on with PIXELMETER_GATEWAYS={host}={profiles[0]}"
    )


def sparkline(values: Sequence[int | None]) -> str:
    """Return a stroke for each value, the largest at full height; only zero and below have the lowest stroke.

    A question mark stands for None, of which nothing is known.
    """
    largest = max((value for value in values if value is not None), default=0)
    steps = len(_STROKES) - 2
    return "".join(
        _NOT_KNOWN if value is None else _STROKES[1 + value * steps // largest if value > 0 else 0] for value in values
    )


def _names(models: Iterable[str]) -> str:
    names = [model or "(no model)" for model in models]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
