"""The routes of the page: what a URL asks, who answers it, and what goes wrong."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from pixelmeter.core.attempts.record import BILLINGS, OPERATIONS, OUTCOMES
from pixelmeter.core.ports import Clock
from pixelmeter.core.reporting.periods import moment_of
from pixelmeter.errors import ConfigError, LedgerError, SchemaOutdated, SchemaTooNew
from pixelmeter.ledger.reader import LedgerReader, is_too_long
from pixelmeter.ledger.state import state_of
from pixelmeter.reports.calls import names, stretch, sum_of
from pixelmeter.reports.report import Question
from pixelmeter.serve.page.asked import Asked, read_asked, read_place
from pixelmeter.serve.page.calls import Listed, calls_view
from pixelmeter.serve.page.desk import Busy, Desk, TooLong
from pixelmeter.serve.page.first import First, first_view
from pixelmeter.serve.page.rendering import STATIC, error_page, page, pieces

__all__ = ["Page"]

_CHOICES = (("operation", OPERATIONS), ("outcome", OUTCOMES), ("billing", BILLINGS))
_LIMIT = 50
_FRESH_SECONDS = 300
_log = logging.getLogger("pixelmeter")

_View = Callable[[LedgerReader, Asked], object]


class Failed(NamedTuple):
    """What a part of a page says that could not be made."""

    error: str


class Page:
    """The pages of a ledger."""

    def __init__(self, url: str, clock: Clock, desk: Desk | None = None) -> None:
        """`url` names the ledger."""
        self._clock = clock
        self._desk = desk or Desk(url)

    def routes(self) -> list[BaseRoute]:
        """Return the routes."""
        return [
            Route("/", self._guarded(self._first)),
            Route("/calls", self._guarded(self._calls)),
            Mount("/static", _Static(directory=STATIC, check_dir=False)),
            Route("/{path:path}", self._guarded(_unknown)),
        ]

    async def _first(self, request: Request) -> Response:
        return await self._asked(request, "overview.html", "/", ("step", "tags", "top", "read"), self._first_view)

    def _first_view(self, reader: LedgerReader, asked: Asked) -> First:
        return first_view(reader, asked, self._clock)

    async def _calls(self, request: Request) -> Response:
        return await self._asked(request, "calls.html", "/calls", ("sort", "after", "read"), self._calls_view)

    def _calls_view(self, reader: LedgerReader, asked: Asked) -> Listed:
        sort, after = asked.first("sort"), asked.first("after")
        if sort not in {None, "time", "cost"}:
            raise ConfigError(f"sort is {sort[:40]!r}: use time or cost")
        by_cost = sort == "cost"
        place = None if after is None else read_place(after, by_cost=by_cost)
        question = Question(since=asked.since, until=asked.until, zone=asked.zone, filters=asked.filters)
        found = stretch(reader, question, limit=_LIMIT, by_cost=by_cost, after=place)
        total = sum_of(reader, question, self._clock, reads_all=asked.first("read") == "all")
        return calls_view(asked, found, total, names(reader), _LIMIT)

    async def _asked(self, request: Request, template: str, path: str, extra: Collection[str], view: _View) -> Response:
        """Answer a question that the URL asks, of the ledger as it is now or as the client has it already."""
        pairs = request.query_params.multi_items()
        asked = read_asked(pairs, now=self._now(), extra=extra)
        if any(not value.strip() for _, value in pairs):
            # As forms send the fields that nobody has filled in.
            return RedirectResponse(asked.url(path, keep=[key for key, _ in pairs]), 303)
        context = {"asked": asked, "here": path, "choices": _CHOICES}
        if asked.first("read") == "all":
            return self._streamed(template, context, lambda reader: view(reader, asked))
        known = request.headers.get("if-none-match")

        def ask(reader: LedgerReader) -> Response:
            etag = self._etag(reader, asked.now, request)
            if known is not None and etag in known:
                return Response(status_code=304, headers={"etag": etag})
            found = view(reader, asked)
            return page(template, {**context, "ask": lambda: found}, etag=etag)

        return await self._desk.answer(ask)

    def _streamed(self, template: str, context: Mapping[str, Any], view: Callable[[LedgerReader], object]) -> Response:
        """Answer a question that takes its time: what is known without the ledger comes first."""

        def ask(reader: LedgerReader) -> Iterator[str]:
            def asked() -> object:
                try:
                    return view(reader)
                except ConfigError as error:
                    return Failed(f"This cannot be asked: {error}.")
                except Exception as error:
                    if not is_too_long(error):
                        raise
                    return Failed(_too_long_sentence(self._desk.seconds))

            yield from pieces(template, {**context, "ask": asked})

        body = self._desk.pieces(ask)
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


async def _unknown(request: Request) -> Response:
    return error_page(404, "There is no such page", f"Nothing is at {request.url.path[:100]}.")


class _Static(StaticFiles):
    """Files that a browser keeps, and asks for again only whether they have changed."""

    def file_response(self, *arguments: Any, **named: Any) -> Response:
        response = super().file_response(*arguments, **named)
        response.headers["cache-control"] = "no-cache"
        return response
