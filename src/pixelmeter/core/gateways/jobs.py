"""How answers say that work goes on after them, and which requests then ask how that went."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec

from pixelmeter.core.gateways.places import Condition, DocumentPath, RequestPlace, ResponsePlaces

__all__ = ["Asks", "Follow", "FollowKind", "Job", "condition_of"]

_LONGEST_HOURS = 24 * 90

Asks = Mapping[str, tuple[str | bool | int, ...]]
"""Places in a request, and globs over their values; true where one of the places has one of its values."""

FollowKind = Literal["poll", "result", "cancel"]
"""What a request about a job asks for: how it is going, what has come of it, or that it ends."""


def condition_of(asks: Asks) -> Condition:
    """Return what a profile's file says of a request as a condition; ValueError for what is no place."""
    return tuple((RequestPlace(place), wanted) for place, wanted in asks.items())


class Follow(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One kind of request about a job, as a profile writes it: it is no attempt, and its answer may tell the end."""

    kind: FollowKind
    path: Annotated[str, msgspec.Meta(pattern=r"^(\*\*)?/")]
    """As that of a route."""
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = "GET"
    job_id: tuple[RequestPlace, ...] = (RequestPlace("path.job_id"),)
    """Where the request names the job; the first place that has anything counts."""
    asks: Asks | tuple[Asks, ...] = ()
    """As those of a route: without one of them it is another request."""
    unless: Asks = {}
    """With one of these it is another request."""
    status: tuple[DocumentPath, ...] | None = None
    """Where this answer has the job's status, instead of where the job's others have it; `[]` says nowhere."""
    failed_statuses: tuple[Annotated[int, msgspec.Meta(ge=400, le=599)], ...] = ()
    """Statuses of HTTP with which the end of a failed job is answered; any other says nothing of the job."""
    response: ResponsePlaces = ResponsePlaces()
    """Where this answer has what matters, laid over what the job's other answers have."""

    def __post_init__(self) -> None:
        _ = self.conditions, self.exclusions

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """What must all be true of such a request."""
        several = self.asks if isinstance(self.asks, tuple) else (self.asks,)
        return tuple(condition_of(asks) for asks in several)

    @property
    def exclusions(self) -> Condition:
        """What is true of another request."""
        return condition_of(self.unless)


class Job(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How an answer says that work goes on after it, and how later ones say that it has ended.

    Words are globs over the status, small and capital letters alike.
    """

    id: tuple[DocumentPath, ...]
    status: tuple[DocumentPath, ...] = ()
    pending: tuple[str, ...] = ()
    """Without any, every status that is none of the others."""
    failed: tuple[str, ...] = ()
    """What has ended without an image; the status is then the error's type."""
    cancelled: tuple[str, ...] = ()
    """What somebody has ended before it was done; the status is then the error's type."""
    done: tuple[str, ...] = ()
    """What has ended well, where later answers say it. Without any, every status that is none of the others, if there
    are words for `pending`."""
    not_charged: tuple[str, ...] = ()
    """Of `failed` and `cancelled`, those of which the gateway says that they are not charged."""
    id_alone: bool = True
    """Whether an id without an image and without a status is a job as well."""
    max_age_hours: Annotated[int, msgspec.Meta(ge=1, le=_LONGEST_HOURS)] = 24
    """After so long a job of which no end was heard is given up."""
    follow: tuple[Follow, ...] = ()
    """The requests about a job, the first that fits counts."""
