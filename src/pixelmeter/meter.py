"""The composition root: settings, prices, profiles, spool and ledger become a Meter."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Self, Unpack

import msgspec

from pixelmeter._version import __version__
from pixelmeter.budgets.admission import Admission, Reservation
from pixelmeter.budgets.file import budgets_of
from pixelmeter.budgets.leasing import Leasing
from pixelmeter.budgets.notices import Notices
from pixelmeter.budgets.spender import Ask
from pixelmeter.core.apis.reader import ImageRequest
from pixelmeter.core.attempts.assemble import Metered
from pixelmeter.core.attempts.followed import FollowedJob
from pixelmeter.core.attempts.intent import Intents, Prepared, blocked
from pixelmeter.core.attempts.jobs import JobEnd, JobKey, Settler
from pixelmeter.core.attempts.record import Attempt
from pixelmeter.core.budgets.budget import Budget
from pixelmeter.core.gateways.profile import Profile
from pixelmeter.core.gateways.routes import Followed, Found, Route
from pixelmeter.core.gateways.signatures import checked_secrets
from pixelmeter.core.memo import Memo
from pixelmeter.core.ports import Clock, Files, Ids
from pixelmeter.core.pricing.book import PriceBook
from pixelmeter.core.sink import Sink
from pixelmeter.core.wire.exchange import Exchange
from pixelmeter.core.wire.headers import length_of, without_root
from pixelmeter.errors import BudgetExceeded, ConfigError
from pixelmeter.gateways import load_profiles
from pixelmeter.ledger.address import absolute_url, in_schema, read_address, spool_folder
from pixelmeter.linking import Mark, link, mark_of
from pixelmeter.outgoing import Outgoing
from pixelmeter.prices import book_of
from pixelmeter.recorder.failures import Failures
from pixelmeter.recorder.recorder import Recorder
from pixelmeter.recorder.sink_dispatch import SinkDispatch
from pixelmeter.recorder.status import Status, left_files
from pixelmeter.settings import from_environment
from pixelmeter.sinks.choice import chosen
from pixelmeter.spool import Spool
from pixelmeter.system import SystemClock, SystemFiles, SystemIds
from pixelmeter.tagging import checked, current, encoded, mapping, trouble, with_spend_tag
from pixelmeter.upkeep import open_drain
from pixelmeter.webhooks import Secret, WebhookEvent, WebhookHeaders, Webhooks

if TYPE_CHECKING:
    from datetime import datetime

    from prometheus_client import CollectorRegistry

    from pixelmeter.ledger.spending import Spend, SpendQuestion

__all__ = ["Meter"]


_REMEMBERED_JOBS = 1000
_OPENING_SECONDS = 2.0


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


class Meter:
    """Records the image calls of the clients that are instrumented with it.

        meter = pixelmeter.Meter()                      # sqlite:///pixelmeter.db, or PIXELMETER_DATABASE_URL
        client = pixelmeter.instrument(OpenAI(), meter)

    The ledger is opened by the first image call of the process; with a budget that refuses calls it is opened at once,
    which waits for at most two seconds. Arguments win over the environment:

    - `database_url`: the ledger, `sqlite:///file.db` or `postgresql://user:password@host/database`.
    - `tags`: put on every attempt.
    - `price_book`: the path of a price file whose entries win over the bundled ones, or a PriceBook.
    - `gateways`: host pattern -> profile, such as `{"images.corp.example": "aigateway"}`; known hosts need none.
    - `registry`: a Prometheus registry to count attempts in; `PIXELMETER_SINKS=prometheus` takes the default one.
    - `sinks`: objects that are told of each attempt, besides those of `registry` and `PIXELMETER_SINKS`.
    - `spool_dir`: the folder in which attempts wait for the ledger; by default it is beside a SQLite file.
    - `budgets`: limits, besides those of `PIXELMETER_BUDGETS`; of two with the same name this one is taken.
    - `webhook_secrets`: profile -> secret, or several, with which `webhook` checks signatures.

    Threads and tasks may share it. Raises ConfigError or PriceBookError for what cannot be used.
    """

    def __init__(
        self,
        database_url: str | None = None,
        *,
        tags: Mapping[str, str] | None = None,
        price_book: PriceBook | str | os.PathLike[str] | None = None,
        gateways: Mapping[str, str] | None = None,
        registry: CollectorRegistry | None = None,
        sinks: Sequence[Sink] = (),
        spool_dir: str | None = None,
        budgets: Sequence[Budget] = (),
        webhook_secrets: Mapping[str, Secret] | None = None,
    ) -> None:
        settings = from_environment()
        if not isinstance(database_url, str | None):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigError(f"database_url is a {type(database_url).__name__}: write f'sqlite:///{{path}}'")
        url = in_schema(database_url or settings.database_url, settings.schema)
        # Read once, here: the folder that a relative path is taken from may change as soon as the program goes on.
        self._address = read_address(url)
        self.database_url = absolute_url(url)
        """The ledger, password included, the path of a SQLite file absolute; `status()` shows it without."""
        self._tags = checked({**settings.tags, **mapping("tags", tags)})
        self._encoded_tags = encoded(self._tags)
        self._profiles = load_profiles({**settings.gateways, **mapping("gateways", gateways)}, settings.profiles)
        self.routes: Callable[[str, bytes, bytes], Sequence[Found | Followed]] = self._profiles.requests
        """Tells by method, host and raw target of which routes a request may be; of none, for most."""
        book = book_of(settings.prices if price_book is None else price_book)
        self._told: Memo[JobKey, int] = Memo(_REMEMBERED_JOBS)
        self._intents = Intents(self._profiles, book, fee_rate=settings.fee_rate, version=__version__)
        self._clock: Clock = SystemClock()
        self._ids: Ids = SystemIds()
        self._files: Files = SystemFiles()
        named, given = "PIXELMETER_WEBHOOK_SECRETS", settings.webhook_secrets
        if webhook_secrets is not None:
            named, given = "webhook_secrets", {**given, **checked_secrets(webhook_secrets, "webhook_secrets")}
        self._webhooks = Webhooks(self._profiles, given, self._clock, self._ids, named)
        self.failures = Failures(self._clock)
        """Our own failures inside callers' requests."""
        self._folder = spool_folder(self._address, spool_dir or settings.spool_dir, settings.state_dir)
        self._spool = Spool(
            self._folder,
            self._files,
            self._ids,
            limit=settings.spool_limit,
            durability=settings.durability,
            note=partial(self.failures.note, "spool", path=self._folder),
        )
        dispatch = SinkDispatch(
            chosen(sinks, registry, settings.sinks),
            clock=self._clock,
            failures=self.failures,
            backend=self._address.dialect,
        )
        self.sinks = dispatch.sinks
        """The live views, in the order in which they are told."""
        known = budgets_of(settings.budgets, budgets)
        notices = Notices(
            known,
            clock=self._clock,
            process=self._spool.identity,
            note=self.failures.note,
            keys=settings.notify_keys,
        )
        leasing = Leasing(
            known, clock=self._clock, process=self._spool.claim, notices=notices, unmark=self._spool.unmark
        )
        self._spool.on_drop = leasing.drop
        self._admission = Admission(known, leasing, self._clock)
        self.recorder = Recorder(
            self._spool,
            partial(
                open_drain,
                self._address,
                self._folder,
                self._spool,
                self._files,
                self.failures,
                partial(Settler, self._profiles, book),
                dispatch.changed,
                leasing if known else None,
            ),
            clock=self._clock,
            failures=self.failures,
            dispatch=dispatch,
            leasing=leasing if known else None,
            interval=settings.write_interval,
        )
        """Where the attempts go."""
        if self._admission.blocks:
            # A call waits less than it may take to open a ledger; then it would be refused, or go without a lease.
            self.recorder.open(_OPENING_SECONDS)

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
        if self._admission.blocks or self.recorder.is_captured:
            reservation = yield from self._admit(asked, intent)
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
            asked.mark.call.refused(intent.attempt)
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
            if self.sinks:
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

    def webhook(
        self, headers: WebhookHeaders, body: bytes, *, gateway: str | None = None, secret: Secret | None = None
    ) -> WebhookEvent:
        """Take an event that a gateway has posted to your webhook, and record the end of the job that it reports.

        `body` is the body as received, byte for byte. The headers say which gateway it is from, unless `gateway` (id of
        a profile) does. `secret` checks the signature, in place of the secrets of the meter; of several any may be the
        right one. It waits for nothing, so async code may call it. Raises WebhookError where the signature is missing
        or wrong: answer with an error then, and the gateway will send the event again.
        """
        return self._webhooks.take(headers, body, gateway, secret, self.recorder.job_end)

    def spend(
        self, since: str | datetime = "this-month", until: str | datetime = "0m", **asked: Unpack[SpendQuestion]
    ) -> Spend:
        """Return what was spent from `since` on and before `until`, by the ledger; first flushes what has ended.

        Moments are datetimes with a zone, or texts as `pixelmeter report` takes them (`2026-05-01`, `this-month`, `7d`
        for seven days ago) in the zone `tz`. `by` names the dimensions of rows (`model,tag:team`); `top` is how many
        rows. `tags`, `model` (with `*`), `gateway`, `operation` and `outcome` choose attempts. Waits for the database:
        in async code call it with `asyncio.to_thread`. Raises ConfigError, or LedgerError if that does not answer.
        """
        from pixelmeter.ledger.spending import spent

        self.recorder.open(_OPENING_SECONDS)
        self.flush()
        return spent(self._address, since, until, asked)

    def flush(self, timeout: float = 10.0) -> bool:
        """Wait up to `timeout` seconds until each attempt that has ended is in the ledger; return whether all are."""
        return self.recorder.flush(timeout)

    def close(self, timeout: float = 2.0) -> bool:
        """Flush as `flush` does, and release thread, connection and files; what is not written stays in the spool."""
        return self.recorder.close(timeout)

    def status(self) -> Status:
        """Return how the meter is doing: how many attempts wait for the ledger and how long, the last error of the
        ledger (`ledger_error`, None while all is well), the state of writer and spool, and failures of pixelmeter.
        """
        return {
            "database_url": self._address.safe(),
            "spool_dir": self._folder,
            **self.recorder.status(),
            "left": left_files(self._files, self._folder, self._spool.process),
            "failures": self.failures.counts(),
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        import asyncio

        await asyncio.to_thread(self.close)

    def __repr__(self) -> str:
        return f"Meter({self._address.safe()!r})"
