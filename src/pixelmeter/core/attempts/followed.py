"""A request about a job on its way: its answer becomes what was heard of the job's end, or nothing."""

from __future__ import annotations

from collections.abc import Callable

from pixelmeter.core.apis.reader import ImageRequest, ImageResponse
from pixelmeter.core.attempts.assemble import Wire
from pixelmeter.core.attempts.job_ends import end_of
from pixelmeter.core.attempts.jobs import JobEnd
from pixelmeter.core.attempts.record import Outcome
from pixelmeter.core.gateways.routes import FollowRoute
from pixelmeter.core.ports import Clock, Ids

__all__ = ["FollowedJob"]

_NOTHING = ImageRequest()


class FollowedJob:
    """A request about a job that an exchange watches. It is no attempt."""

    __slots__ = ("_clock", "_emit", "_gateway", "_ids", "_job_id", "_version", "route")

    request = _NOTHING
    """What the job was asked for, which this request does not say."""
    is_traced = True
    """Its trace is of no interest."""

    def __init__(
        self,
        route: FollowRoute,
        gateway: str,
        job_id: str,
        *,
        clock: Clock,
        ids: Ids,
        version: str,
        emit: Callable[[JobEnd], None],
    ) -> None:
        """Begin with what the request says; `emit` takes what is heard of the job's end."""
        self.route = route
        self._gateway = gateway
        self._job_id = job_id
        self._clock = clock
        self._ids = ids
        self._version = version
        self._emit = emit

    def trace(self, trace_id: str) -> None:
        """Take no trace."""

    def end(self, wire: Wire, response: ImageResponse, outcome: Outcome, error_type: str | None, *, sent: bool) -> None:
        """Emit what the answer says of the job's end, if it says any; how the request itself went is no matter."""
        route = self.route
        end = end_of(
            response,
            wire.headers,
            profile=route.profile,
            job=route.job,
            cost=route.cost,
            source=route.kind,
            gateway=self._gateway,
            job_id=self._job_id,
            heard_at=self._clock.now(),
            id=self._ids.new(),
            version=self._version,
            status=wire.status or 0,
            failed_statuses=route.failed_statuses,
        )
        if end is not None:
            self._emit(end)
