"""Which thresholds of a budget have been passed, and what is said of one."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Iterable
from typing import NamedTuple

import msgspec

from pixelmeter.core.budgets.budget import Notice, Rule, usd_of
from pixelmeter.core.reporting.periods import moment_of

__all__ = ["Claims", "NoticeKey", "Passed", "amount_at", "body_of", "notice_of", "signatures_of", "slack_text"]

_PARTS = 1_000_000
_SLACK = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
# Mattermost and Discord take these words of a text, Slack does not.
_EVERYBODY = re.compile(r"@(?=(?:all|channel|everyone|here)\b)", re.IGNORECASE)
_ZERO_WIDTH_SPACE = "\u200b"
_encode = msgspec.json.encode


class NoticeKey(NamedTuple):
    """A threshold of a budget, for one of its values, in one span: it is told once."""

    budget: str
    value: str
    start: int
    """When the span begins: Unix time in microseconds."""
    threshold: int
    """Parts per million of the limit."""


class Passed(NamedTuple):
    """A threshold that has been passed, and that this process is to tell."""

    key: NoticeKey
    rule: Rule
    changed_at: int
    """When the budget got this limit: Unix time in microseconds."""
    spent: int
    """Nano-dollars."""


class Claims(NamedTuple):
    """What a process got when it looked for thresholds to tell."""

    passed: list[Passed]
    pending_since: int | None
    """Since when the oldest notice has been claimed that was not sent: Unix time in microseconds."""


def amount_at(limit: int, threshold: int) -> int:
    """Return the nano-dollars at which a threshold (parts per million) is passed: where nothing is spent none is."""
    return max(-(-limit * threshold // _PARTS), 1)


def notice_of(passed: Passed) -> Notice:
    """Return what is told of a threshold that has been passed."""
    key, rule = passed.key, passed.rule
    end = rule.span_of(key.start).end
    return Notice(
        id=_id(key, passed.changed_at),
        budget=key.budget,
        value=key.value,
        threshold=usd_of(key.threshold * 1000),
        limit=usd_of(rule.limit),
        spent=usd_of(passed.spent),
        starts_at=moment_of(key.start),
        resets_at=None if end is None else moment_of(end),
    )


def body_of(notice: Notice) -> bytes:
    """Return what a webhook is sent: a message as Slack takes it, and beside it what the message says."""
    return _encode(
        {
            "text": slack_text(notice.text),
            "type": "budget.threshold_passed",
            "id": notice.id,
            "budget": notice.budget,
            "value": notice.value,
            "threshold": f"{notice.threshold:f}",
            "limit_usd": f"{notice.limit:f}",
            "spent_usd": f"{notice.spent:f}",
            "starts_at": notice.starts_at,
            "resets_at": notice.resets_at,
        }
    )


def slack_text(text: str) -> str:
    """Return text as Slack shows it: a tag may come from a customer, who must not address everybody in a channel."""
    return _EVERYBODY.sub(f"@{_ZERO_WIDTH_SPACE}", text.translate(_SLACK))


def signatures_of(keys: Iterable[bytes], identity: str, seconds: int, body: bytes) -> str:
    """Return the header `webhook-signature` of Standard Webhooks: one signature for each key."""
    message = b".".join([identity.encode(), str(seconds).encode(), body])
    return " ".join(f"v1,{base64.b64encode(hmac.digest(key, message, 'sha256')).decode()}" for key in keys)


def _id(key: NoticeKey, changed_at: int) -> str:
    """Return the same id for the same notice; that of another limit, or of another ledger, is another one."""
    return f"notice_{hashlib.sha256(_encode([*key, changed_at])).hexdigest()[:32]}"
