"""The composition root: settings, prices, profiles, spool and ledger become a Meter."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Self, cast

import msgspec

from pixelmeter._version import __version__
from pixelmeter.calls import Mark, link, mark_of
from pixelmeter.core.exchange import Exchange
from pixelmeter.core.headers import length_of
from pixelmeter.core.kinds import Kinds
from pixelmeter.core.ports import Clock, Files, Ids
from pixelmeter.core.prices import PriceBook
from pixelmeter.core.record import Operation
from pixelmeter.core.routes import operation_of
from pixelmeter.core.text import bounded
from pixelmeter.drain import Drain
from pixelmeter.errors import ConfigError
from pixelmeter.failures import Failures
from pixelmeter.fanout import Fanout, Sink
from pixelmeter.gateways import load_profiles
from pixelmeter.ledger.address import safe_url, spool_folder
from pixelmeter.outgoing import Body, RequestLike, ask_of, retry_of, trace_id_of
from pixelmeter.prices import book_of
from pixelmeter.recorder import Recorder
from pixelmeter.settings import Settings, from_environment
from pixelmeter.sinks.choice import chosen
from pixelmeter.spool import Spool
from pixelmeter.status import LeftFiles, Status
from pixelmeter.system import SystemClock, SystemFiles, SystemIds
from pixelmeter.tagging import checked, current, encoded

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry


__all__ = ["Meter", "adopt"]


class Meter:
    """Records the image calls of the clients that are instrumented with it.

        meter = pixelmeter.Meter()                      # sqlite:///pixelmeter.db, or PIXELMETER_DATABASE_URL
        client = pixelmeter.instrument(OpenAI(), meter)

    Nothing is opened before the first image call of a process. Arguments win over the environment:

    `database_url`: the ledger, `sqlite:///file.db` or `postgresql://user:password@host/database`.
    `tags`: put on every attempt. `price_book`: a PriceBook, or the path of a price file that wins over the bundled one.
    `gateways`: host pattern -> profile, such as `{"images.corp.example": "aigateway"}`; known hosts need nothing.
    `registry`: a Prometheus registry to count attempts in; `PIXELMETER_SINKS=prometheus` takes the default one.
    `sinks`: live views of the attempts, beside those that `registry` and `PIXELMETER_SINKS` turn on.
    `spool_dir`: where attempts wait for the ledger; by default beside a SQLite file.

    Raises ConfigError or PriceBookError for what cannot be used.
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
    ) -> None:
        settings = from_environment()
        if not isinstance(database_url, str | None):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigError(f"database_url is a {type(database_url).__name__}: write f'sqlite:///{{path}}'")
        self.database_url = database_url or settings.database_url
        """The ledger, password included; `status()` shows it without."""
        self._tags = checked({**settings.tags, **_mapping("tags", tags)})
        self._encoded_tags = encoded(self._tags)
        self._profiles = load_profiles({**settings.gateways, **_mapping("gateways", gateways)}, settings.profiles)
        self._kinds = Kinds(
            self._profiles,
            book_of(settings.prices if price_book is None else price_book),
            fee_rate=settings.fee_rate,
            version=__version__,
        )
        self._clock: Clock = SystemClock()
        self._ids: Ids = SystemIds()
        self._files: Files = SystemFiles()
        self.failures = Failures(self._clock)
        """Our own failures inside callers' requests."""
        self._folder = spool_folder(self.database_url, spool_dir or settings.spool_dir, settings.state_dir)
        self._spool = Spool(
            self._folder,
            self._files,
            self._ids,
            durability=settings.durability,
            note=partial(self.failures.note, "spool"),
        )
        fanout = Fanout(
            chosen(sinks, registry, settings.sinks),
            clock=self._clock,
            failures=self.failures,
            backend=self.database_url.partition(":")[0].partition("+")[0],
        )
        self.sinks = fanout.sinks
        """The live views, in the order in which they are told."""
        self.recorder = Recorder(
            self._spool,
            partial(_open_drain, self.database_url, self._folder, self._spool, self._files),
            clock=self._clock,
            failures=self.failures,
            fanout=fanout,
            interval=settings.write_interval,
        )
        """Where the attempts go."""

    def begin(self, request: RequestLike) -> tuple[Exchange, Mark] | None:
        """Start to meter a request that is about to leave; None if it is no image operation or is metered already."""
        if request.method != "POST":
            return None
        try:
            target: bytes = request.url.raw_path
            operation = operation_of("POST", target)
            if operation is None:
                return None
            earlier = mark_of(request.extensions)
            if earlier is not None and earlier.in_transport:
                return None
            return self._begin(request, target, operation, earlier)
        except Exception as error:
            self.failures.note("request", error)
            return None

    def flush(self, timeout: float = 10.0) -> bool:
        """Bring every attempt that has ended into the ledger; return whether all are there in time (seconds)."""
        return self.recorder.flush(timeout)

    def close(self, timeout: float = 2.0) -> bool:
        """Flush and give back thread, connection and files; what could not be written stays in the spool."""
        return self.recorder.close(timeout)

    def status(self) -> Status:
        """Return how the meter is doing: what waits for the ledger and how long, what the ledger said last
        (`ledger_error`, None while all is well), what the writer and the spool are at, and our own failures by place.
        """
        return {
            "database_url": safe_url(self.database_url),
            "spool_dir": self._folder,
            **self.recorder.status(),
            "left": self._left(),
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
        return f"Meter({safe_url(self.database_url)!r})"

    def _left(self) -> LeftFiles:
        own = self._spool.process
        sizes: list[int] = []
        with suppress(OSError), os.scandir(self._folder) as entries:
            for entry in entries:
                if entry.name.endswith(".spool") and (own is None or not entry.name.startswith(own)):
                    with suppress(OSError):
                        sizes.append(entry.stat(follow_symlinks=False).st_size)
        return {"files": len(sizes), "bytes": sum(sizes)}

    def _begin(
        self, request: RequestLike, target: bytes, operation: Operation, earlier: Mark | None
    ) -> tuple[Exchange, Mark]:
        receiver = self.recorder.receiver()
        host: str = request.url.netloc.decode("ascii")
        profile = self._profiles.of_host(host)
        here = current()
        tags = {**self._tags, **here} if here else self._tags
        headers = {name.lower(): value for name, value in request.headers.raw}
        body = Body(request, headers)
        # A client that follows a redirect hands the same content on as a stream.
        ask = earlier.ask if earlier is not None and body.unread else ask_of(body, profile, target, headers)
        sent_tag = headers.get(profile.tag.request_header) if profile.tag is not None else None
        if sent_tag is not None:
            tags = {**tags, "aig_tag": bounded(sent_tag.decode("latin-1"), 64) or ""}
        new_id = self._ids.new()
        mark = link(
            request.extensions,
            earlier,
            retry=retry_of(headers),
            key=lambda: (host, target, body.same_as()),
            new_id=new_id,
        )
        mark.ask = ask
        now = self._clock.now()
        kind = self._kinds.of(host, operation, ask, now)
        intent = msgspec.structs.replace(
            kind.intent,
            id=new_id,
            call_id=mark.call_id,
            attempt=mark.attempt,
            started_at=now,
            request_bytes=length_of(headers),
            tags=self._encoded_tags if tags is self._tags else encoded(tags),
            trace_id=trace_id_of(headers),
        )
        if self.sinks:
            mark.leaving = self.recorder.enter(intent)
            if intent.trace_id is None:
                intent = msgspec.structs.replace(intent, trace_id=trace_id_of(headers))
        try:
            exchange = Exchange(intent, kind.terms, self._clock, receiver, self.failures.note)
            self.recorder.begin(intent)
            # Last: a request that we failed to meter is left as it came, for a wrapper below or the attempt that
            # follows.
            if profile.tag is not None and sent_tag is None and "aig_tag" in tags:
                mark.add_header(request.headers, profile.tag.request_header.decode(), tags["aig_tag"])
        except Exception:
            mark.leave()
            raise
        mark.in_transport = True
        return exchange, mark


def adopt(database_url: str | None = None, settings: Settings | None = None) -> int:
    """Bring what dead processes left in the spool into the ledger; return how many attempts. Raises LedgerError."""
    settings = settings or from_environment()
    url = database_url or settings.database_url
    folder = spool_folder(url, settings.spool_dir, settings.state_dir)
    files = SystemFiles()
    if not any(name.endswith(".spool") for name in files.list(folder)):
        return 0
    drain = _open_drain(url, folder, Spool(folder, files, SystemIds()), files)
    try:
        return drain.adopt()
    finally:
        drain.close()


def _mapping(name: str, value: object) -> Mapping[str, str]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ConfigError(f"{name} is a {type(value).__name__}: give a dict")
    return cast("Mapping[str, str]", value)


def _open_drain(url: str, folder: str, spool: Spool, files: Files) -> Drain:
    from pixelmeter.ledger.writer import open_writer

    return Drain(spool, files, folder, open_writer(url))
