"""Tells a webhook what a check has found: each finding once in its window, however many checks run."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

import msgspec

from pixelmeter.budgets.webhook import Message, Undelivered, Webhook
from pixelmeter.core.budgets.notices import slack_text
from pixelmeter.core.ports import Clock, Ids
from pixelmeter.core.reporting.limits import Excess, listed
from pixelmeter.core.reporting.periods import microseconds_of, utc_text
from pixelmeter.errors import LedgerError, PixelmeterError
from pixelmeter.ledger import check_notices
from pixelmeter.ledger.check_notices import CheckNotice
from pixelmeter.reports.check import Check

__all__ = ["tell"]

PAUSES = (1.0, 4.0)
"""Seconds between the tries of a webhook."""

_STALE = 300 * 1_000_000
"""What was claimed so many microseconds ago and not sent is claimed anew: its run has died."""
_SHOWN = 20
_encode = msgspec.json.encode


def tell(
    ledger: str,
    webhook: str,
    asked: Check,
    found: Sequence[Excess],
    *,
    keys: Sequence[bytes],
    clock: Clock,
    ids: Ids,
    wait: Callable[[float], object],
    pauses: Sequence[float] = PAUSES,
) -> int:
    """Post what nobody has told the webhook of in this window; return how much that was.

    The ledger keeps what was told, so that checks of several machines share it. PixelmeterError, which shows no URL,
    where it cannot be posted: the next run tells it. LedgerError where the ledger cannot keep it: nothing is posted.
    """
    if not found:
        return 0
    named = {_id(webhook, asked, one): one for one in found}
    quiet_until = microseconds_of(asked.window.quiet_until)
    claimant, at = ids.new(), clock.now()
    notices = [CheckNotice(identity, one.check, quiet_until) for identity, one in named.items()]
    claimed = check_notices.claim(ledger, notices, claimant, at, at - _STALE)
    mine = [one for identity, one in named.items() if identity in claimed]
    if not mine:
        return 0
    try:
        _post(Webhook(keys, clock), webhook, _message(asked, mine, claimant), wait, pauses)
    except BaseException:
        # Where that fails too, the claim is stale after a while.
        with suppress(LedgerError):
            check_notices.release(ledger, claimant)
        raise
    check_notices.sent(ledger, claimant, clock.now())
    return len(mine)


def _post(
    webhook: Webhook, url: str, message: Message, wait: Callable[[float], object], pauses: Sequence[float]
) -> None:
    for pause in pauses:
        try:
            webhook.post(url, message)
        except Undelivered as error:
            wait(pause if error.again is None else error.again)
        else:
            return
    try:
        webhook.post(url, message)
    except Undelivered as error:
        raise PixelmeterError(f"{error}: the next check tells it") from None


def _message(asked: Check, found: Sequence[Excess], claimant: str) -> Message:
    """Return what is posted: a text as Slack takes it, and beside it what the text says."""
    number = "1 finding" if len(found) == 1 else f"{len(found):,} findings"
    lines = [f"pixelmeter check: {number} in {asked.window.text}"]
    lines += [f"• {one.told}" for one in found[:_SHOWN]]
    if len(found) > _SHOWN:
        lines.append(f"and {len(found) - _SHOWN:,} more")
    identity = f"check_{claimant}"
    body = _encode(
        {
            "text": slack_text("\n".join(lines)),
            "type": "check.findings",
            "id": identity,
            "since": utc_text(asked.window.since),
            "until": utc_text(asked.window.until),
            "findings": [listed(one) for one in found],
        }
    )
    return Message(identity, body, "the webhook of the check")


def _id(webhook: str, asked: Check, one: Excess) -> str:
    """Return the same id for the same finding, limit, question and webhook; nobody can read any of them in it."""
    filters = replace(asked.filters, tags=dict(sorted(asked.filters.tags.items())))
    question = [asked.window.text, str(asked.zone), repr(filters), asked.limits.min_attempts]
    # Of a budget, the limit may change, and is passed anew then.
    found = [one.check, list(one.where.items()), one.state, one.limit]
    return hashlib.sha256(_encode([webhook, found, [] if one.check == "budgets" else question])).hexdigest()
