"""Jobs: work that a gateway goes on with after it has answered, and what is heard of its end.

The end may be heard of several times, in any order and by any process: by a poll, a fetch of the result, a
cancellation, a webhook, or not at all until the job is too old. What is known of it only grows: `Job.hear` takes what
tells more than what was heard before, and the attempt that submitted the job is then as `Settler.ended` says.
"""

from __future__ import annotations

from typing import Literal, Self

import msgspec

from pixelmeter.core.apis.reader import ImageResponse
from pixelmeter.core.apis.usage import Usage
from pixelmeter.core.attempts.again import asked_by, vendors_behind
from pixelmeter.core.attempts.billing import Reported, Settlement, Tiers, fee_of, price_of, settle
from pixelmeter.core.attempts.record import Attempt, Identity, Integer, Outcome
from pixelmeter.core.attempts.terms import Named, unless_auto
from pixelmeter.core.gateways.profile import Profile
from pixelmeter.core.gateways.profiles import Profiles
from pixelmeter.core.pricing.book import PriceBook

__all__ = [
    "JOB_EXPIRED",
    "Evidence",
    "Job",
    "JobEnd",
    "JobKey",
    "JobSource",
    "Record",
    "Settler",
    "expired",
    "key_of",
    "repeated",
]

JobSource = Literal["poll", "result", "cancel", "webhook", "expired"]
"""How the end of a job was heard of; `expired` says that it never was."""

JOB_EXPIRED = "job_expired"
"""The error type of a job of which no end was heard in time."""

JobKey = tuple[str, str]
"""The gateway and its id of the job: polls of one job may go to another host than its submit."""


class Evidence:
    """How much the end of a job tells; what tells more wins over what tells less."""

    NONE = 0
    AGE = 1
    """It is too old."""
    STATE = 2
    """It has ended, and nobody says with what."""
    RESULT = 3
    """It has ended with so many images, or without any."""
    MONEY = 4
    """The gateway says what it billed."""


class JobEnd(msgspec.Struct, frozen=True, array_like=True, gc=False, kw_only=True):
    """What one message says of the end of a job. Units are those of `Attempt`; None is what it does not say.

    A new field goes to the end, with a default, so that a spool written by an older version can be read.
    """

    id: Identity
    """UUIDv7 of what was heard."""
    gateway: str
    job_id: str
    heard_at: Integer
    """Unix time in microseconds, UTC."""
    source: JobSource
    outcome: Outcome
    """`success`, `error`, `rejected`, `cancelled` or `timeout`."""
    error_type: str | None = None
    error_code: str | None = None
    not_charged: bool = False
    """Whether the gateway says that such an end is not charged."""
    model: str | None = None
    provider: str | None = None
    images: Integer | None = None
    size: str | None = None
    quality: str | None = None
    usage: Usage = Usage()
    reported_cost: Integer | None = None
    """Nano-dollars, what the gateway said."""
    reported_text: str | None = None
    """Its text where it could not be used as it stands."""
    doubtful_zero: bool = False
    """It said 0, which of this gateway proves nothing."""
    units: str | None = None
    """How many units of the model's price it billed, a decimal number as text."""
    version: str = ""

    @property
    def key(self) -> JobKey:
        """Which job it is about."""
        return self.gateway, self.job_id

    @property
    def evidence(self) -> int:
        """How much it tells, as `Evidence` has it."""
        if self.source == "expired":
            return Evidence.AGE
        # How many units a failure was billed tells nothing: whether it is charged at all, the gateway says otherwise.
        if self.reported_cost is not None or (self.units is not None and self.outcome == "success"):
            return Evidence.MONEY
        if self.source == "cancel":
            # That it is to be cancelled has been accepted; it may be done by then.
            return Evidence.STATE
        if self.not_charged:
            return Evidence.MONEY
        if self.images or not self.usage.is_empty or self.outcome != "success":
            return Evidence.RESULT
        return Evidence.STATE


Record = Attempt | JobEnd
"""What is spooled, and brought into the ledger."""

_MAX_AGE_HOURS = 24
_MICROSECONDS_PER_HOUR = 3_600_000_000
_FAILURES: tuple[Outcome, ...] = ("error", "rejected", "timeout")
_KEPT = ("model", "provider", "images", "size", "quality", "reported_cost", "reported_text", "units")


class Job(msgspec.Struct, gc=False, kw_only=True):
    """What is known of a job: a row of the ledger."""

    gateway: str
    job_id: str
    attempt_id: Identity | None = None
    """The attempt that submitted it; None while only its end is known."""
    submitted_at: Integer | None = None
    """Unix time in microseconds at which that attempt was sent."""
    ended_at: Integer | None = None
    """Unix time in microseconds at which its end was heard of first; None while it is open."""
    outcome: Outcome | None = None
    end: JobEnd | None = None
    """All that was heard of its end."""

    @classmethod
    def of(cls, key: JobKey) -> Self:
        """Return a job of which nothing is known."""
        return cls(gateway=key[0], job_id=key[1])

    @property
    def key(self) -> JobKey:
        """Its gateway and id."""
        return self.gateway, self.job_id

    def submit(self, attempt: Attempt) -> bool:
        """Take the attempt that submitted it; return False where another one has."""
        if self.attempt_id not in (None, attempt.id):
            return False
        self.attempt_id, self.submitted_at = attempt.id, attempt.started_at
        return True

    def hear(self, end: JobEnd) -> bool:
        """Take what was heard of its end; return whether that tells anything new.

        What comes of it does not depend on the order in which ends are heard of.
        """
        known = self.end
        if known is None or known.source == "expired":
            if known is not None and end.source == "expired":
                return False
            self.end, self.ended_at, self.outcome = end, end.heard_at, end.outcome
            return True
        more, less = (end, known) if _rank(end) > _rank(known) else (known, end)
        missing = {name: getattr(less, name) for name in _KEPT if getattr(more, name) is None}
        if more.usage.is_empty and more.usage.doubt is None:
            missing["usage"] = less.usage
        if more.outcome != "success" and more.error_code is None:
            missing["error_code"] = less.error_code
        if less.outcome == "cancelled" and more.outcome in _FAILURES:
            # It failed because it was cancelled.
            missing["outcome"] = "cancelled"
        self.end = msgspec.structs.replace(more, **missing)
        self.outcome = self.end.outcome
        return self.end != known


def _rank(end: JobEnd) -> tuple[int, bool, int, int]:
    # Of two that tell as much and not the same, the one that tells of more holds, whichever was heard of first.
    return end.evidence, end.outcome == "success", end.reported_cost or 0, end.images or 0


def key_of(attempt: Attempt) -> JobKey | None:
    """Return which job an attempt has submitted; None where it has submitted none.

    Without an id of the gateway it goes by that of the attempt: nothing will be heard of it, but it grows too old.
    """
    if attempt.outcome != "pending":
        return None
    return attempt.gateway, attempt.job_id or attempt.id


def expired(job: Job, *, at: int, id: str, version: str) -> JobEnd:
    """Return the end of a job that is too old at this Unix time in microseconds."""
    return JobEnd(
        id=id,
        gateway=job.gateway,
        job_id=job.job_id,
        heard_at=at,
        source="expired",
        outcome="timeout",
        error_type=JOB_EXPIRED,
        version=version,
    )


class Settler:
    """Says what an attempt is once its job has ended."""

    def __init__(self, profiles: Profiles, book: PriceBook) -> None:
        self._profiles = profiles
        self._book = book

    def max_age(self, gateway: str) -> int:
        """Return how old a job of a gateway may get before it counts as expired, in microseconds."""
        profile = self._profiles.of_gateway(gateway)
        jobs = [profile.job, *(route.job for route in profile.route)]
        hours = [job.max_age_hours for job in jobs if job is not None]
        return max(hours, default=_MAX_AGE_HOURS) * _MICROSECONDS_PER_HOUR

    def ended(self, attempt: Attempt, end: JobEnd) -> Attempt:
        """Return the attempt that submitted a job as it is after that end; `attempt` is as it was at the submit.

        A charge that was stated then stays, unless the end states one too, or that it is not charged.
        """
        profile = self._profiles.of_gateway(attempt.gateway)
        response = _response(end)
        reported = Reported(end.reported_cost, end.reported_text, end.doubtful_zero)
        is_stated = attempt.billing == "billed" and attempt.cost is not None
        is_paid = is_stated and end.reported_cost is None and not end.not_charged
        tiers = Tiers()
        model = None
        if end.outcome == "success" and not is_paid:
            said = None if end.model is None or profile.hides(end.model) else end.model
            tiers, model = self._priced(attempt, end, response, profile, said)
        settlement = _settlement(attempt, end, profile, reported, tiers) if not is_paid else None
        after = msgspec.structs.replace(
            attempt,
            model=end.model if end.model is not None and not profile.hides(end.model) else model or attempt.model,
            provider=end.provider or attempt.provider,
            images=end.images if end.images is not None else attempt.images,
            size=end.size or attempt.size,
            quality=unless_auto(end.quality) or attempt.quality,
            outcome=end.outcome,
            error_type=end.error_type,
            error_code=end.error_code,
        )
        if not (end.usage.is_empty and end.usage.doubt is None):
            usage = end.usage
            after = msgspec.structs.replace(
                after,
                input_text_tokens=usage.input_text,
                input_image_tokens=usage.input_image,
                cached_input_tokens=usage.cached,
                output_text_tokens=usage.output_text,
                output_image_tokens=usage.output_image,
            )
        if settlement is None:
            return after
        return msgspec.structs.replace(
            after,
            billing=settlement.billing,
            cost=settlement.cost,
            cost_source=settlement.cost_source,
            cost_reason=settlement.cost_reason,
            reported_cost=end.reported_cost,
            reported_text=end.reported_text,
            token_cost=tiers.token_cost,
            image_cost=tiers.image_cost,
            price_id=tiers.price_id,
            priced_parts=tiers.parts,
            at_risk=attempt.at_risk if settlement.billing in ("unknown", "pending") else None,
            fee=end.reported_cost if attempt.byok else fee_of(settlement.cost, attempt.fee_rate),
        )

    def _priced(
        self, attempt: Attempt, end: JobEnd, response: ImageResponse, profile: Profile, said: str | None
    ) -> tuple[Tiers, str | None]:
        models = tuple(dict.fromkeys(name for name in (said, attempt.requested_model, attempt.model) if name))
        models = tuple(name for name in models if not profile.hides(name))
        priced = price_of(
            asked_by(attempt),
            response,
            Named(models),
            models,
            end.units,
            book=self._book,
            gateway=attempt.gateway,
            at=attempt.started_at,
            vendors=vendors_behind(profile),
            region=None,
        )
        return priced.tiers, priced.model


def repeated(attempt: Attempt, end: JobEnd) -> Attempt:
    """Return another attempt that was answered with the same job: it is paid for once, by the first one."""
    return msgspec.structs.replace(
        attempt,
        outcome=end.outcome,
        error_type=end.error_type,
        error_code=end.error_code,
        images=0,
        billing="not_billed",
        cost=0,
        cost_source="none",
        cost_reason="same_job",
        at_risk=None,
        fee=fee_of(0, attempt.fee_rate),
    )


def _response(end: JobEnd) -> ImageResponse:
    return ImageResponse(
        readable=True,
        images=end.images,
        model=end.model,
        size=end.size,
        quality=end.quality,
        usage=end.usage,
        error_type=end.error_type,
        error_code=end.error_code,
    )


def _settlement(attempt: Attempt, end: JobEnd, profile: Profile, reported: Reported, tiers: Tiers) -> Settlement:
    if end.not_charged and not reported.nano:
        return Settlement("not_billed", 0, "none", "job_not_charged")
    if end.outcome == "success" and end.evidence < Evidence.RESULT:
        # It is done, and with how many images is not known yet: what it may cost stays at risk.
        return Settlement("unknown", None, "none", "outcome_unknown")
    return settle(
        end.outcome,
        sent=True,
        status=None,
        profile=profile,
        reported=reported,
        tiers=tiers,
        byok=attempt.byok,
        error_type=end.error_type,
    )
