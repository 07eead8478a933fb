"""What drivers hand requests to: an image request becomes an attempt, one about a job a look at its end."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import msgspec

from pixelmeter._version import __version__
from pixelmeter.budgets.admission import Admission, Reservation
from pixelmeter.budgets.spender import Ask
from pixelmeter.core.apis.reader import ImageRequest
from pixelmeter.core.attempts.assemble import Metered
from pixelmeter.core.attempts.followed import FollowedJob
from pixelmeter.core.attempts.intent import Intents, Prepared, blocked
from pixelmeter.core.attempts.jobs import JobEnd, JobKey
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.core.gateways.profile import Profile
from pixelmeter.core.gateways.routes import Followed, Found, Route
from pixelmeter.core.memo import Memo
from pixelmeter.core.ports import Clock, Ids
from pixelmeter.core.wire.exchange import Exchange
from pixelmeter.core.wire.headers import length_of, without_root
from pixelmeter.errors import BudgetExceeded, CallRefused
from pixelmeter.linking import Mark, link, mark_of
from pixelmeter.outgoing import Outgoing
from pixelmeter.recorder.failures import Failures
from pixelmeter.recorder.recorder import Recorder
from pixelmeter.tagging import current, encoded, trouble, with_spend_tag

__all__ = ["Intake"]

_REMEMBERED_JOBS = 1000


class _Asked(NamedTuple):
    """An image request that is about to leave, and what it asks for."""

    outgoing: Outgoing
    route: Route
    request: ImageRequest
    tags: Mapping[str, str]
    header: tuple[str, str] | None
    """What is to be sent besides, for the gateway's own spend tag."""
    mark: Mark
    id: str
    receiver: Callable[[Attempt], None]
    """What takes the attempt once it has ended."""


class Intake:
    """The side of a meter that drivers know."""

    def __init__(
        self,
        routes: Callable[[str, bytes, bytes], Sequence[Found | Followed]],
        intents: Intents,
        admission: Admission,
        recorder: Recorder,
        *,
        tags: Mapping[str, str],
        failures: Failures,
        clock: Clock,
        ids: Ids,
    ) -> None:
        """`tags` are those of every attempt."""
        self.routes = routes
        """Tells by method, host and raw target of which routes a request may be; of none, for most."""
        self.failures = failures
        """Our own failures inside callers' requests."""
        self.recorder = recorder
        """Where the attempts go."""
        self._intents = intents
        self._admission = admission
        self._tags = tags
        self._encoded_tags = encoded(tags)
        self._clock = clock
        self._ids = ids
        self._told: Memo[JobKey, int] = Memo(_REMEMBERED_JOBS)

    def begin(
        self, outgoing: Outgoing, within: Mark | None = None
    ) -> Generator[Ask, None, tuple[Exchange, Mark] | None]:
        """Start to meter a request that is about to leave, as the next attempt of the one it is sent within.

        Returns None where it asks for no image. Yields what is to be waited for before it may go on. CallRefused where
        a check does not let it go: BudgetExceeded where that is a budget.
        """
        asked = self._read(outgoing, within)
        if asked is None:
            return None
        prepared, intent = self._price(asked)
        reservation = None
        try:
            if self._admission.blocks or self.recorder.is_captured:
                reservation = yield from self._admit(asked, intent)
        except BaseException as error:
            if isinstance(error, CallRefused) or not isinstance(error, Exception):
                # It is never sent. After a failure of ours it is: an attempt that nothing is known of.
                asked.mark.call.refused(asked.mark.attempt)
            raise
        return self._record(asked, prepared, intent, reservation)

    def follow(self, outgoing: Outgoing) -> Exchange | None:
        """Start to watch a request about a job, which is no attempt: its answer may tell the job's end.

        Returns None where it is about none.
        """
        followed = outgoing.followed
        if followed is None:
            return None
        route, job_id = followed
        job = FollowedJob(
            route,
            without_root(outgoing.host) if route.profile.generic else route.profile.id,
            job_id,
            clock=self._clock,
            ids=self._ids,
            version=__version__,
            emit=self._tell,
        )
        return Exchange(job, self._clock, self.failures.note, outgoing.errors)

    def _tell(self, end: JobEnd) -> None:
        """Keep what was heard of a job's end, unless as much was heard before: clients go on asking."""
        known = self._told.get(end.key)
        if known is None or known < end.evidence:
            self.recorder.job_end(end)
            self._told.keep(end.key, end.evidence)

    def _read(self, outgoing: Outgoing, within: Mark | None) -> _Asked | None:
        """Return what a request asks for, for whom, and which attempt of which call it is."""
        # First of all: it tells in which process the attempt begins.
        receiver = self.recorder.receiver()
        read = outgoing.image_request()
        if read is None:
            return None
        route, request = read
        tags, header = self._tagged(route.profile, outgoing)
        earlier = within or mark_of(outgoing.context)
        if earlier is not None and outgoing.unread:
            # A client that follows a redirect may hand the same content on as a stream.
            request = earlier.request
        new_id = self._ids.new()
        mark = link(
            outgoing.context,
            within=within,
            retry=outgoing.retry,
            key=outgoing.place_and_content,
            new_id=new_id,
        )
        mark.request = request
        return _Asked(outgoing, route, request, tags, header, mark, new_id, receiver)

    def _tagged(self, profile: Profile, outgoing: Outgoing) -> tuple[Mapping[str, str], tuple[str, str] | None]:
        """Return the tags of an attempt, and the header that the gateway is to be sent for one of them."""
        here = current()
        tags = {**self._tags, **here} if here else self._tags
        if here is not None and (wrong := trouble()) is not None:
            self.failures.note("tags", wrong)
        return (tags, None) if profile.tag is None else with_spend_tag(tags, profile.tag, outgoing.headers)

    def _price(self, asked: _Asked) -> tuple[Prepared, Attempt]:
        """Return the intent of an attempt: what it costs at most, as far as that can be told before it leaves."""
        outgoing = asked.outgoing
        now = self._clock.now()
        prepared = self._intents.of(outgoing.host, asked.route, asked.request, now)
        intent = msgspec.structs.replace(
            prepared.intent,
            id=asked.id,
            call_id=asked.mark.call_id,
            attempt=asked.mark.attempt,
            started_at=now,
            request_bytes=length_of(outgoing.headers),
            tags=self._encoded_tags if asked.tags is self._tags else encoded(asked.tags),
            trace_id=outgoing.trace_id,
        )
        return prepared, intent

    def _admit(self, asked: _Asked, intent: Attempt) -> Generator[Ask, None, Reservation | None]:
        """Reserve what the attempt may cost; a refused one is recorded as what was never sent."""
        if self.recorder.is_captured:
            self.recorder.show(intent, asked.outgoing)
            return None
        try:
            return (yield from self._admission.admit(intent))
        except BudgetExceeded as exceeded:
            exceeded.refuse = self._admission.refusal_of(exceeded.budget)
            asked.receiver(blocked(intent, exceeded.budget))
            raise

    def _record(
        self, asked: _Asked, prepared: Prepared, intent: Attempt, reservation: Reservation | None
    ) -> tuple[Exchange, Mark]:
        """Tell the sinks, keep the intent, and return what watches the attempt."""
        mark, outgoing = asked.mark, asked.outgoing
        receiver = mark.call.watch(asked.receiver)
        if reservation is not None:
            receiver = partial(self._admission.end, reservation, self.failures.note, receiver)
        try:
            if self.recorder.sinks:
                mark.leaving = self.recorder.enter(intent)
                if intent.trace_id is None:
                    intent = msgspec.structs.replace(intent, trace_id=outgoing.trace_id)
            metered = Metered(intent, prepared, receiver, self.failures.note)
            exchange = Exchange(metered, self._clock, self.failures.note, outgoing.errors)
            self.recorder.begin(intent)
            # Last: a request that we failed to meter is left as it came, for a layer below or the attempt that follows.
            if asked.header is not None:
                mark.add_header(outgoing.sent_headers, *asked.header)
        except BaseException:
            mark.restore()
            if reservation is not None:
                self._admission.release(reservation)
            raise
        return exchange, mark
