"""What a fleet of processes is to have done: how large it is, and how each of its jobs goes."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["AIGATEWAY_SECRET", "FleetJob", "Plan", "planned"]

AIGATEWAY_SECRET = "aig_whsec_of_the_fleet"
"""What AIgateway signs its webhooks with; fal signs with the key that it shows at /.well-known/jwks.json."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How large a fleet is, and what it meets."""

    ledger: str
    """A database URL."""
    folder: str
    """Where spool, billing logs and notes go."""
    jobs: int = 1000
    batch: int = 10
    """Jobs a submitting process."""
    killed: float = 0.5
    """Which share of the submitting processes is killed after its submits, before the jobs have ended."""
    submitters: int = 4
    """How many processes submit at a time."""
    pollers: int = 3
    times: int = 2
    """How often each webhook is posted."""
    seed: int = 0
    meter_options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """More arguments for each `Meter`: the secrets of webhooks, say."""


@dataclass(frozen=True, kw_only=True)
class FleetJob:
    """One job: what was planned, and what became of it."""

    wish: str
    vendor: Literal["aigateway", "fal"]
    images: int
    behaviour: dict[str, Any]
    polled: bool
    """Whether pollers follow it to its end."""
    cancelled: bool
    """Whether a poller cancels it first."""
    posted: bool
    """Whether a webhook tells of its end."""
    killed: bool = False
    """Whether the process that submitted it was killed."""

    @property
    def ends(self) -> bool:
        """Whether it ever does."""
        return self.cancelled or self.behaviour["job_end"] != "never"

    @property
    def is_heard(self) -> bool:
        """Whether anybody is told of its end."""
        return self.ends and (self.polled or self.posted)


def planned(plan: Plan, inbox: str) -> list[FleetJob]:
    """Return the jobs of a fleet: both vendors, every end, heard of by polls, webhooks, both, or not at all."""
    source = random.Random(plan.seed)
    return [_planned(f"w{number:05d}", source, plan, inbox) for number in range(plan.jobs)]


def _planned(wish: str, source: random.Random, plan: Plan, inbox: str) -> FleetJob:
    vendor: Literal["aigateway", "fal"] = source.choice(("aigateway", "fal"))
    end = source.choices(("completed", "failed", "failed_object", "aborted", "never"), (70, 10, 7, 5, 8))[0]
    by = source.choices(("polls", "webhook", "both", "nobody"), (35, 30, 25, 10))[0]
    posted = by in ("webhook", "both")
    behaviour: dict[str, Any] = {"job": True, "job_end": end, "job_polls": source.randint(1, 4)}
    behaviour |= {"webhook_times": plan.times if posted else 0, "webhook_held": source.random() < 0.5}
    behaviour |= {"webhook": inbox, "webhook_secret": AIGATEWAY_SECRET}
    if vendor == "aigateway":
        behaviour["webhook_signature"] = source.choice(("aig", "gateway"))
    if source.random() < 0.3:
        behaviour["job_seconds"] = round(source.uniform(0, 0.3), 3)
    polled = by in ("polls", "both")
    return FleetJob(
        wish=wish,
        vendor=vendor,
        images=1 if vendor == "aigateway" else source.randint(1, 4),
        behaviour=behaviour,
        polled=polled,
        cancelled=polled and source.random() < 0.1,
        posted=posted,
    )
