"""Which behaviour applies to a request: what was told to the gateway, then what the request itself asks for."""

from __future__ import annotations

import random
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from pixelmeter.testing.behaviour import DEFAULT, Behaviour, BehaviourError, check, from_header
from pixelmeter.testing.shapes import is_object

__all__ = ["Rules"]

_CONDITIONS = ("times", "every", "probability", "match")
_MATCHES = ("model", "path", "method", "operation", "tag", "test_id", "retry_count")
_OF_THE_BODY = ("model", "operation")


@dataclass(slots=True)
class _Rule:
    given: dict[str, Any]
    match: dict[str, str]
    times: int | None
    every: int
    probability: float
    seen: int = 0


class Rules:
    """Rules in the order they were told; all that apply are laid over each other, the later ones on top."""

    def __init__(self, seed: int) -> None:
        self._rules: list[_Rule] = []
        self._random = random.Random(seed)

    def tell(self, asked: dict[str, Any]) -> int:
        """Add a rule and return how many there are; raise BehaviourError when it makes no sense.

        Beside the behaviour it may have `times` (then it stops), `every` (each k-th request), `probability` (0 to 1)
        and `match` (shell patterns for model, path, method, operation, tag, test_id, retry_count).
        """
        given = check({name: value for name, value in asked.items() if name not in _CONDITIONS})
        match: Any = asked.get("match", {})
        if not is_object(match) or not all(name in _MATCHES for name in match):
            raise BehaviourError(f"match takes patterns for {', '.join(_MATCHES)}, not {match!r}")
        patterns = {name: str(pattern) for name, pattern in match.items()}
        if given.get("cut") == "before_read" and any(name in _OF_THE_BODY for name in patterns):
            raise BehaviourError("cut before_read cannot match model or operation: the body is not read; match path")
        times, every, probability = asked.get("times"), asked.get("every", 1), asked.get("probability", 1)
        if not (times is None or (type(times) is int and times > 0)) or type(every) is not int or every < 1:
            raise BehaviourError(f"times and every take whole numbers from 1, not {times!r} and {every!r}")
        if type(probability) not in (int, float) or not 0 <= probability <= 1:
            raise BehaviourError(f"probability takes a number from 0 to 1, not {probability!r}")
        self._rules.append(_Rule(given, patterns, times, every, probability))
        return len(self._rules)

    def clear(self) -> None:
        """Forget every rule."""
        self._rules.clear()

    def apply(self, facts: dict[str, str], header: str | None, *, read: bool, image: bool) -> Behaviour:
        """Return the behaviour for a request with these facts.

        Rules without a path pattern are for image requests only. `read` is False before the body is read, when
        nothing but a cut before_read applies, and True after, when everything else does. Raises BehaviourError for a
        bad header.
        """
        if not self._rules and header is None:
            return DEFAULT
        merged: dict[str, Any] = {}
        for rule in self._rules:
            due = (rule.given.get("cut") != "before_read") is read and (image or "path" in rule.match)
            if due and self._applies(rule, facts):
                merged.update(rule.given)
        if header is not None:
            asked = from_header(header, int(facts["retry_count"]))
            if (asked.get("cut") != "before_read") is read:
                merged.update(asked)
        return Behaviour(**merged) if merged else DEFAULT

    def _applies(self, rule: _Rule, facts: dict[str, str]) -> bool:
        if rule.times == 0:
            return False
        if not all(fnmatchcase(facts.get(name, ""), pattern) for name, pattern in rule.match.items()):
            return False
        rule.seen += 1
        if rule.seen % rule.every:
            return False
        if rule.probability < 1 and self._random.random() >= rule.probability:
            return False
        if rule.times is not None:
            rule.times -= 1
        return True
