"""The composition root: settings, prices, profiles, spool and ledger become a Meter."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from operator import attrgetter
from types import TracebackType
from typing import TYPE_CHECKING, Self, Unpack

from pixelmeter._version import __version__
from pixelmeter.budgets.admission import Admission
from pixelmeter.budgets.file import budgets_of
from pixelmeter.budgets.leasing import Leasing
from pixelmeter.budgets.notices import Notices
from pixelmeter.core.attempts.intent import Intents
from pixelmeter.core.attempts.jobs import Settler
from pixelmeter.core.budgets.budget import Budget
from pixelmeter.core.gateways.signatures import checked_secrets
from pixelmeter.core.ports import Clock, Files, Ids
from pixelmeter.core.pricing.book import PriceBook
from pixelmeter.core.sink import Sink
from pixelmeter.errors import ConfigError
from pixelmeter.gateways import load_profiles
from pixelmeter.intake import Intake
from pixelmeter.ledger.address import absolute_url, in_schema, read_address, spool_folder
from pixelmeter.prices import book_of
from pixelmeter.recorder.failures import Failures
from pixelmeter.recorder.recorder import Recorder
from pixelmeter.recorder.sink_dispatch import SinkDispatch
from pixelmeter.recorder.status import Status, left_files
from pixelmeter.settings import from_environment
from pixelmeter.sinks.choice import chosen
from pixelmeter.spool import Spool
from pixelmeter.system import SystemClock, SystemFiles, SystemIds
from pixelmeter.tagging import checked, mapping
from pixelmeter.upkeep import open_drain
from pixelmeter.webhooks import Secret, WebhookEvent, WebhookHeaders, Webhooks

if TYPE_CHECKING:
    from datetime import datetime

    from prometheus_client import CollectorRegistry

    from pixelmeter.ledger.spending import Spend, SpendQuestion

__all__ = ["Meter", "intake_of"]

_OPENING_SECONDS = 2.0


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
        every = checked({**settings.tags, **mapping("tags", tags)})
        profiles = load_profiles({**settings.gateways, **mapping("gateways", gateways)}, settings.profiles)
        book = book_of(settings.prices if price_book is None else price_book)
        clock: Clock = SystemClock()
        ids: Ids = SystemIds()
        self._files: Files = SystemFiles()
        named, given = "PIXELMETER_WEBHOOK_SECRETS", settings.webhook_secrets
        if webhook_secrets is not None:
            named, given = "webhook_secrets", {**given, **checked_secrets(webhook_secrets, "webhook_secrets")}
        self._webhooks = Webhooks(profiles, given, clock, ids, named)
        failures = Failures(clock)
        self._folder = spool_folder(self._address, spool_dir or settings.spool_dir, settings.state_dir)
        self._spool = Spool(
            self._folder,
            self._files,
            ids,
            limit=settings.spool_limit,
            durability=settings.durability,
            note=partial(failures.note, "spool", path=self._folder),
        )
        dispatch = SinkDispatch(
            chosen(sinks, registry, settings.sinks),
            clock=clock,
            failures=failures,
            backend=self._address.dialect,
        )
        known = budgets_of(settings.budgets, budgets)
        notices = Notices(
            known,
            clock=clock,
            process=self._spool.identity,
            note=failures.note,
            keys=settings.notify_keys,
        )
        leasing = Leasing(known, clock=clock, process=self._spool.claim, notices=notices, unmark=self._spool.unmark)
        self._spool.on_drop = leasing.drop
        admission = Admission(known, leasing, clock)
        self._recorder = Recorder(
            self._spool,
            partial(
                open_drain,
                self._address,
                self._folder,
                self._spool,
                self._files,
                failures,
                partial(Settler, profiles, book),
                dispatch.changed,
                leasing if known else None,
            ),
            clock=clock,
            failures=failures,
            dispatch=dispatch,
            leasing=leasing if known else None,
            interval=settings.write_interval,
        )
        self._intake = Intake(
            profiles.requests,
            Intents(profiles, book, fee_rate=settings.fee_rate, version=__version__),
            admission,
            self._recorder,
            tags=every,
            failures=failures,
            clock=clock,
            ids=ids,
        )
        if admission.blocks:
            # A call waits less than it may take to open a ledger; then it would be refused, or go without a lease.
            self._recorder.open(_OPENING_SECONDS)

    def webhook(
        self, headers: WebhookHeaders, body: bytes, *, gateway: str | None = None, secret: Secret | None = None
    ) -> WebhookEvent:
        """Take an event that a gateway has posted to your webhook, and record the end of the job that it reports.

        `body` is the body as received, byte for byte. The headers say which gateway it is from, unless `gateway` (id of
        a profile) does. `secret` checks the signature, in place of the secrets of the meter; of several any may be the
        right one. It waits for nothing, so async code may call it. Raises WebhookError where the signature is missing
        or wrong: answer with an error then, and the gateway will send the event again.
        """
        return self._webhooks.take(headers, body, gateway, secret, self._recorder.job_end)

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

        self._recorder.open(_OPENING_SECONDS)
        self.flush()
        return spent(self._address, since, until, asked)

    def flush(self, timeout: float = 10.0) -> bool:
        """Wait up to `timeout` seconds until each attempt that has ended is in the ledger; return whether all are."""
        return self._recorder.flush(timeout)

    def close(self, timeout: float = 2.0) -> bool:
        """Flush as `flush` does, and release thread, connection and files; what is not written stays in the spool."""
        return self._recorder.close(timeout)

    def status(self) -> Status:
        """Return how the meter is doing: how many attempts wait for the ledger and how long, the last error of the
        ledger (`ledger_error`, None while all is well), the state of writer and spool, and failures of pixelmeter.
        """
        return {
            "database_url": self._address.safe(),
            "spool_dir": self._folder,
            **self._recorder.status(),
            "left": left_files(self._files, self._folder, self._spool.process),
            "failures": self._intake.failures.counts(),
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


intake_of: Callable[[Meter], Intake] = attrgetter("_intake")
"""Returns the side of a meter that drivers know."""
