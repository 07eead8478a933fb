"""The values of labels: closed sets, so that neither gateways nor callers can add series without end."""

from __future__ import annotations

import re
from typing import Literal, get_args

from pixelmeter.core.attempts.record import Attempt, Outcome

__all__ = [
    "ENDINGS", "ERROR_TYPES", "OTHER", "QUALITIES", "SIZES", "Direction", "ErrorType", "Modality", "error_type",
    "quality_label", "size_label",
]  # fmt: skip

ErrorType = Literal[
    "",
    "auth",
    "bad_answer",
    "blocked",
    "cancelled",
    "connection",
    "insufficient_funds",
    "interrupted",
    "invalid_request",
    "moderation",
    "not_found",
    "server",
    "throttled",
    "timeout",
]
"""Why an attempt gave no image; "" where it did, and where a job is still running."""
ERROR_TYPES: tuple[ErrorType, ...] = get_args(ErrorType)
ENDINGS: tuple[tuple[Outcome, ErrorType], ...] = (
    ("success", ""),
    ("pending", ""),
    *(("error", each) for each in ("bad_answer", "connection", "insufficient_funds", "moderation", "server")),
    ("timeout", "timeout"),
    ("throttled", "throttled"),
    ("throttled", "insufficient_funds"),
    *(("rejected", each) for each in ("auth", "insufficient_funds", "invalid_request", "moderation", "not_found")),
    ("cancelled", "cancelled"),
    ("interrupted", "interrupted"),
    ("blocked", "blocked"),
)
"""Every way to end, with each reason that it can have."""
Direction = Literal["input", "output"]
Modality = Literal["text", "cached_text", "image"]

OTHER = "other"
"""The label of whatever has none of its own."""

SIZES = frozenset(
    {
        "256x256", "512x512", "768x768", "1024x1024", "1024x1536", "1536x1024", "1024x1792", "1792x1024", "1536x1536",
        "2048x2048", "1152x2048", "2048x1152", "2048x3072", "3072x2048", "4096x4096", "1K", "2K", "4K",
    }
)  # fmt: skip
"""The sizes that vendors list (shared by OpenAI, Seedream, Gemini and the Flux family)."""
QUALITIES = frozenset({"low", "medium", "high", "standard", "hd", "auto"})

_BY_STATUS: dict[int, ErrorType] = {
    401: "auth",
    402: "insufficient_funds",
    403: "auth",
    404: "not_found",
}
_BY_OUTCOME: dict[str, ErrorType] = {
    "success": "",
    "pending": "",
    "timeout": "timeout",
    "cancelled": "cancelled",
    "interrupted": "interrupted",
    "blocked": "blocked",
}
# What gateways call a refused prompt, in small letters with nothing between the words: OpenAI, Azure (contentFilter,
# ResponsibleAIPolicyViolation), BFL and Fireworks ("Content Moderated"), Gemini, BytePlus (SensitiveContentDetected).
_MODERATION = (
    "moderat",
    "contentpolicy",
    "contentfilter",
    "contentviolation",
    "responsibleai",
    "safety",
    "sensitivecontent",
    "prohibitedcontent",
)
_EXCEPTION = re.compile(r"[A-Z]\w+(Error|Exception|Timeout|IncompleteRead)|IncompleteRead")
_BETWEEN_WORDS = str.maketrans("", "", "_- .")
_FUNDS = ("insufficient_quota", "insufficient_credits", "budget_exceeded", "billing_hard_limit_reached")


def error_type(attempt: Attempt) -> ErrorType:
    """Return why the attempt gave no image."""
    settled = _BY_OUTCOME.get(attempt.outcome)
    if settled is not None:
        return settled
    words = f"{attempt.error_type} {attempt.error_code}".lower()
    if any(word in words for word in _FUNDS):
        return "insufficient_funds"
    if attempt.outcome == "throttled":
        return "throttled"
    if any(word in words.translate(_BETWEEN_WORDS) for word in _MODERATION):
        return "moderation"
    if attempt.status is None:
        return "connection"
    if attempt.status >= 500:
        return "server"
    if attempt.status < 300:
        # What an exception ended has its class for a type.
        return "connection" if _EXCEPTION.fullmatch(attempt.error_type or "") else "bad_answer"
    return _BY_STATUS.get(attempt.status, "invalid_request")


def size_label(attempt: Attempt) -> str:
    """Return the size if it is a usual one, else "other"; "" when it is unknown."""
    return _known(attempt.size, SIZES)


def quality_label(attempt: Attempt) -> str:
    """Return the quality if it is a usual one, else "other"; "" when it is unknown."""
    return _known(attempt.quality, QUALITIES)


def _known(value: str | None, known: frozenset[str]) -> str:
    if value is None:
        return ""
    return value if value in known else OTHER
