"""The routes of the page: what a URL asks, who answers it, and what goes wrong."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from pixelmeter.core.attempts.record import BILLINGS, OPERATIONS, OUTCOMES
from pixelmeter.core.ports import Clock
from pixelmeter.core.reporting.periods import moment_of
from pixelmeter.errors import ConfigError, LedgerError, SchemaOutdated, SchemaTooNew
from pixelmeter.ledger.budget_reading import Counted, budgets_of
from pixelmeter.ledger.reader import LedgerReader, is_too_long
from pixelmeter.ledger.state import state_of
from pixelmeter.ledger.statements import latest_reconciliations
from pixelmeter.monitoring.runbooks import alert_pages
from pixelmeter.reports.budgets import detail, overviews
from pixelmeter.reports.calls import most_expensive_reads, names, stretch, sum_of
from pixelmeter.reports.health import HealthCheck
from pixelmeter.reports.one_call import call_of, one_call
from pixelmeter.reports.report import Question
from pixelmeter.serve.page.asked import NO_VALUE, Asked, asks_nothing, call_path, read_asked, read_place
from pixelmeter.serve.page.budgets import MOST, budgets_table, detail_sections
from pixelmeter.serve.page.calls import Listed, calls_view
from pixelmeter.serve.page.desk import Busy, Desk, TooLong
from pixelmeter.serve.page.first import First, first_view
from pixelmeter.serve.page.health import health_view
from pixelmeter.serve.page.one_call import call_view
from pixelmeter.serve.page.reconciliation import reconciliation_sections
from pixelmeter.serve.page.rendering import STATIC, error_page, page, pieces
from pixelmeter.serve.page.runbooks import runbook
from pixelmeter.serve.page.sections import Card, Section

__all__ = ["Page"]

_CHOICES = (("operation", OPERATIONS), ("outcome", OUTCOMES), ("billing", BILLINGS))
_OF_CALLS = ("sort", "after", "read", "budget", "value")
_LIMIT = 50
_FRESH_SECONDS = 300
# As long as a scrape waits for the ledger.
_PATIENCE = 5.0
_NO_BUDGETS = "The ledger has no budgets. Meter(budgets=[...]) or PIXELMETER_BUDGETS adds them."
_log = logging.getLogger("pixelmeter")

_View = Callable[[LedgerReader, Asked], object]


class NotThere(Exception):
    """What a URL names is not there."""


class Elsewhere(Exception):
    """The page is at another URL."""


class View(NamedTuple):
    """A page of cards and sections."""

    cards: Sequence[Card]
    sections: Sequence[Section]


class Failed(NamedTuple):
    """What a part of a page says that could not be made."""

    error: str


class Page:
    """The pages of a ledger."""

    def __init__(self, url: str, clock: Clock, desk: Desk | None = None) -> None:
        """`url` names the ledger."""
        self._clock = clock
        self._desk = desk or Desk(url)
        self._health = HealthCheck(url, clock)

    def routes(self) -> list[BaseRoute]:
        """Return the routes."""
        return [
            Route("/", self._guarded(self._first)),
            Route("/calls", self._guarded(self._calls)),
            Route("/calls/{id}", self._guarded(self._call)),
            Route("/budgets", self._guarded(self._budgets)),
            Route("/reconciliation", self._guarded(self._reconciliation)),
            Route("/health", self._guarded(self._health_page)),
            Route("/runbooks/", self._guarded(self._runbook)),
            Route("/runbooks/{name}", self._guarded(self._runbook)),
            Mount("/static", _Static(directory=STATIC, check_dir=False)),
            Route("/{path:path}", self._guarded(_unknown)),
        ]

    async def _first(self, request: Request) -> Response:
        return await self._asked(request, "overview.html", "/", ("step", "tags", "top", "read"), self._first_view)

    def _first_view(self, reader: LedgerReader, asked: Asked) -> First:
        return first_view(reader, asked, self._clock)

    async def _calls(self, request: Request) -> Response:
        return await self._asked(request, "calls.html", "/calls", _OF_CALLS, self._calls_view)

    def _calls_view(self, reader: LedgerReader, asked: Asked) -> Listed:
        sort, after = asked.first("sort"), asked.first("after")
        if sort is not None and sort not in {"time", "cost"}:
            raise ConfigError(f"sort is {sort[:40]!r}: use time or cost")
        by_cost = sort == "cost"
        place = None if after is None else read_place(after, by_cost=by_cost)
        filters = replace(asked.filters, counted=_counted(reader, asked))
        question = Question(since=asked.since, until=asked.until, zone=asked.zone, filters=filters)
        reads_all = asked.first("read") == "all"
        reading = most_expensive_reads(reader, question, self._clock) if by_cost and not reads_all else None
        found = None
        if reading is None:
            found = stretch(reader, question, limit=_LIMIT, by_cost=by_cost, after=place)
        total = sum_of(reader, question, self._clock, reads_all=reads_all)
        return calls_view(asked, found, reading or total, names(reader), _LIMIT)

    async def _call(self, request: Request) -> Response:
        given = request.path_params["id"]
        try:
            call_id = str(UUID(given))
        except ValueError:
            raise NotThere(f"{given[:60]!r} is no id of a call.") from None

        def view(reader: LedgerReader, asked: Asked) -> View:
            found = one_call(reader, call_id)
            if not found.attempts:
                other = call_of(reader, call_id)
                if other is not None:
                    raise Elsewhere(asked.url(call_path(other), keep=("tz",)))
                raise NotThere(f"The ledger has no call {call_id}. Attempts that were pruned are in sums only.")
            return View(*call_view(found, asked))

        context = {"heading": "Call", "notes": [f"Call {call_id}"], "back": None}
        return await self._asked(request, "sections.html", "/calls", (), view, context)

    async def _budgets(self, request: Request) -> Response:
        def view(reader: LedgerReader, asked: Asked) -> View:
            name, at = asked.first("name"), self._clock.now()
            if name is not None:
                if not overviews(reader, at, values=1, name=name, with_removed=True):
                    raise NotThere(f"The ledger has no budget {name[:100]!r}.")
                return View((), list(detail_sections(detail(reader, name, at, most=MOST), asked)))
            found = overviews(reader, at, values=MOST)
            if not found:
                return View((), [Section(id="none", title="None", notes=[_NO_BUDGETS])])
            table = budgets_table(found, asked, "budgets-now", "Each in its present period")
            return View((), [Section(id="budgets", title="Present periods", tables=[table])])

        context = {"heading": "Budgets", "notes": (), "back": None}
        return await self._asked(request, "sections.html", "/budgets", ("name",), view, context)

    async def _reconciliation(self, request: Request) -> Response:
        def view(reader: LedgerReader, asked: Asked) -> View:
            return View((), reconciliation_sections(latest_reconciliations(reader), asked))

        context = {"heading": "Reconciliation", "notes": (), "back": None}
        return await self._asked(request, "sections.html", "/reconciliation", (), view, context)

    async def _health_page(self, request: Request) -> Response:
        asked = read_asked(request.query_params.multi_items(), now=self._now())
        try:
            found = await self._desk.work(self._health, _PATIENCE)
        except TooLong:
            sentence = f"The ledger has not answered for {_PATIENCE:g} seconds."
            return error_page(
                503, "The ledger does not answer", sentence, "`pixelmeter doctor` waits for as long as it takes."
            )
        return page("health.html", {"asked": asked, "here": "/health", "view": health_view(found, asked)})

    async def _runbook(self, request: Request) -> Response:
        name = request.path_params.get("name", "")
        found = runbook(alert_pages(), name)
        if found is None:
            raise NotThere(f"There is no runbook {name[:100]!r}: /runbooks/ lists them.")
        title, html = found
        context = {"heading": title, "html": html, "is_first": not name, "asked": None, "here": "/runbooks/"}
        return page("runbook.html", context)

    async def _asked(
        self,
        request: Request,
        template: str,
        path: str,
        extra: Collection[str],
        view: _View,
        more: Mapping[str, Any] | None = None,
    ) -> Response:
        """Answer a question that the URL asks, of the ledger as it is now or as the client has it already."""
        pairs = request.query_params.multi_items()
        asked = read_asked(pairs, now=self._now(), extra=extra)
        if any(asks_nothing(key, value) for key, value in pairs):
            # As forms send the fields that nobody has filled in.
            return RedirectResponse(asked.url(request.url.path, keep=[key for key, _ in pairs]), 303)
        context = {"asked": asked, "here": path, "choices": _CHOICES, **(more or {})}
        if asked.first("read") == "all":
            return await self._streamed(template, context, lambda reader: view(reader, asked))
        known = request.headers.get("if-none-match")

        def ask(reader: LedgerReader) -> Response:
            etag = self._etag(reader, asked.now, request)
            if known is not None and etag in known:
                return Response(status_code=304, headers={"etag": etag})
            found = view(reader, asked)
            return page(template, {**context, "ask": lambda: found}, etag=etag)

        return await self._desk.answer(ask)

    async def _streamed(
        self, template: str, context: Mapping[str, Any], view: Callable[[LedgerReader], object]
    ) -> Response:
        """Answer a question that takes its time: what is known without the ledger comes first."""

        def ask(reader: LedgerReader) -> Iterator[str]:
            def asked() -> object:
                try:
                    return view(reader)
                except ConfigError as error:
                    return Failed(f"This cannot be asked: {error}.")
                except Exception as error:
                    if is_too_long(error):
                        return Failed(_too_long_sentence(self._desk.seconds))
                    _log.warning("a part of a page could not be made: %s", type(error).__name__, exc_info=True)
                    return Failed(
                        "This part of the page could not be made. What went wrong is in the log of the server."
                    )

            yield from pieces(template, {**context, "ask": asked})

        body = await self._desk.pieces(ask)
        # Compressed, the beginning would wait for the rest.
        return StreamingResponse(body, media_type="text/html", headers={"content-encoding": "identity"})

    def _now(self) -> datetime:
        return moment_of(self._clock.now()).replace(microsecond=0)

    def _etag(self, reader: LedgerReader, now: datetime, request: Request) -> str:
        """Return what is another one when the ledger has more, or enough time has passed."""
        passed = int(now.timestamp()) // _FRESH_SECONDS
        text = f"{state_of(reader)} {passed} {request.url.path}?{request.url.query}"
        return f'W/"{hashlib.sha256(text.encode()).hexdigest()[:20]}"'

    def _guarded(self, answer: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        """Return an endpoint whose failures are pages with a sentence."""

        async def endpoint(request: Request) -> Response:
            try:
                return await answer(request)
            except NotThere as error:
                return error_page(404, "There is no such page", str(error))
            except Elsewhere as error:
                return RedirectResponse(str(error), 303)
            except ConfigError as error:
                return error_page(400, "This cannot be asked", f"{error}.")
            except Busy:
                sentence = "As many pages as may be made at once are being made. Try again in a few seconds."
                return error_page(503, "Busy", sentence, **{"retry-after": "5"})
            except TooLong:
                return _too_long(self._desk.seconds)
            except (SchemaOutdated, SchemaTooNew) as error:
                return error_page(503, "The ledger has another schema", f"{error}")
            except LedgerError as error:
                return error_page(503, "The ledger cannot be read", f"{error}", "The page of health may say more.")
            except Exception as error:
                _log.warning("a page could not be made: %s", type(error).__name__, exc_info=True)
                return error_page(500, "This page could not be made", "What went wrong is in the log of the server.")

        return endpoint


def _too_long(seconds: float) -> HTMLResponse:
    return error_page(503, "This takes too long", _too_long_sentence(seconds))


def _too_long_sentence(seconds: float) -> str:
    return (
        f"The database had no answer within {seconds:g} seconds. Ask for a shorter range or fewer filters; the command "
        "line has no such limit: `pixelmeter report`, `pixelmeter calls`."
    )


def _counted(reader: LedgerReader, asked: Asked) -> Counted | None:
    """Return what a budget counts, where the URL names one."""
    name, value = asked.first("budget"), asked.first("value")
    if name is None and value is None:
        return None
    if name is None:
        raise ConfigError("value is that of a budget: give budget too")
    kept = next(iter(budgets_of(reader, name, with_removed=True)), None)
    if kept is None:
        raise ConfigError(f"the ledger has no budget {name[:100]!r}")
    return Counted(kept.rule, "" if value == NO_VALUE else value)


async def _unknown(request: Request) -> Response:
    raise NotThere(f"Nothing is at {request.url.path[:100]}.")


class _Static(StaticFiles):
    """Files that a browser keeps, and asks for again only whether they have changed."""

    def file_response(self, *arguments: Any, **named: Any) -> Response:
        response = super().file_response(*arguments, **named)
        response.headers["cache-control"] = "no-cache"
        return response
