"""Rows of reports, wherever they have what: one description a report, and one reader for all of them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime

import msgspec

from pixelmeter.core.apis.usage import NumberText
from pixelmeter.core.attempts.record import NANO_PER_USD
from pixelmeter.core.gateways.amounts import Unit
from pixelmeter.core.gateways.places import DocumentPath
from pixelmeter.core.reconciling.statement import Grain, Period, Statement, StatementStatus, external_id_of
from pixelmeter.core.reporting.periods import microseconds_of
from pixelmeter.core.text import bounded, count, signed, whole
from pixelmeter.errors import SourceError

__all__ = ["RowReader", "RowShape", "currencies_beside", "object_at", "paths", "rows_at", "text_at", "unexpected"]

Paths = tuple[DocumentPath, ...]

_KEPT_LIMIT = 500
_PROBLEM_LIMIT = 100
_MICRO = 1_000_000
_LENGTHS = {"hour": 3600 * _MICRO, "day": 24 * 3600 * _MICRO}
_SUCCEEDED = frozenset({"success", "succeeded", "successful", "completed", "complete", "ok", "done", "true"})
_FAILED = frozenset(
    {
        "failure",
        "failed",
        "fail",
        "error",
        "errored",
        "cancelled",
        "canceled",
        "rejected",
        "refused",
        "timeout",
        "false",
    }
)
# What a number of a Unix time counts: seconds, thousandths, millionths or billionths.
_TIME_UNITS = ((10**11, _MICRO, 1), (10**14, 1000, 1), (10**17, 1, 1), (10**20, 1, 1000))
_UTC_WORD = re.compile(r"\s*(?:UTC|GMT)$")
_NUMBER = re.compile(r"[0-9.]+")
_WITH_COMMAS = re.compile(r"[1-9][0-9]{0,2}(?:(?:,[0-9]{3})+\.[0-9]+|(?:,[0-9]{3}){2,})")
_UNIX_TIME = re.compile(r"([0-9]{1,19})(?:\.[0-9]{0,9})?")

_fields_of = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_elements_of = msgspec.json.Decoder(list[msgspec.Raw]).decode
_value_of = msgspec.json.Decoder(float_hook=NumberText).decode
_UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)


def paths(*texts: str) -> Paths:
    """Return paths into a row."""
    return tuple(map(DocumentPath, texts))


class RowShape(msgspec.Struct, frozen=True, kw_only=True):
    """Where a row has what: of each list of paths the first that has a value counts, of `ids` and `key` all."""

    ids: Paths = ()
    """Names of the request; the first one is the row's own."""
    key: Paths = ()
    """What tells rows without an id from each other, beside the period."""
    time: Paths = ()
    """When the request came, or the period began; without any, the period is the one that is asked for."""
    model: Paths = ()
    amount: Paths = ()
    currency: Paths = ()
    """What the amount is in. Without any, what stands beside the amount as `currency`, in whatever case."""
    unit: Unit = Unit("usd")
    images: Paths = ()
    requests: Paths = ()
    status: Paths = ()
    label: Paths = ()
    kept: Paths = ()
    """What else is kept, as it says nothing private."""

    @property
    def all_kept(self) -> Paths:
        """Every path whose value is kept as it came."""
        parts = (self.ids, self.key, self.time, self.model, self.amount, self.images, self.requests, self.status)
        more = (self.currency, self.label, self.kept)
        return tuple(dict.fromkeys(path for part in (*parts, *more) for path in part))


def currencies_beside(names: Iterable[str], amount: str) -> list[str]:
    """Return which names of columns say what the amount is in: `currency`, or for `cost.value` also `cost.currency`."""
    sought = {"currency", f"{amount.rpartition('.')[0]}.currency".lower()}
    return [name for name in names if name.lower() in sought]


def rows_at(document: bytes | msgspec.Raw, *keys: str) -> list[msgspec.Raw] | None:
    """Return the list at the first of some keys of a document, or the document where it is a list; None for neither."""
    try:
        if bytes(document).lstrip()[:1] == b"[":
            return _elements_of(document)
        found = _fields_of(document)
        return next((_elements_of(found[key]) for key in keys if key in found), None)
    except _UNREADABLE:
        return None


def object_at(document: bytes, key: str) -> msgspec.Raw | None:
    """Return the object at a key of a document; None where it has none."""
    try:
        found = _fields_of(document).get(key)
    except _UNREADABLE:
        return None
    return found if found is not None and bytes(found).lstrip()[:1] == b"{" else None


def text_at(document: bytes | msgspec.Raw, path: str) -> str | None:
    """Return the text, number or truth at a path of a document, as text; None where it has none."""
    try:
        found = _scalar(_fields_of(document), DocumentPath(path))
    except _UNREADABLE:
        return None
    return None if found is None else _plain(found[0])


class RowReader:
    """Makes statements of the rows of one report."""

    def __init__(
        self, *, gateway: str, source: str, grain: Grain, shape: RowShape, period: Period, read_at: int
    ) -> None:
        self._gateway = gateway
        self._source = source
        self._grain: Grain = grain
        self._shape = shape
        self._kept = shape.all_kept
        self._period = period
        self._read_at = read_at
        self._alike: Counter[str] = Counter()
        self._problems: list[str] = []
        self.oldest: int | None = None
        """The earliest time of a row, outside the period too."""

    def statements(self, rows: Iterable[tuple[str, msgspec.Raw | bytes]], first: int | None = None) -> list[Statement]:
        """Return the statements of rows that lie in the period; each comes with what to call it in a problem.

        `first` is the beginning of the period of rows that do not say it themselves.
        """
        return [statement for name, row in rows for statement in self._statement(name, row, first)]

    def problems(self) -> tuple[str, ...]:
        """Return what was wrong with the rows since this was last asked."""
        found, self._problems = self._problems, []
        if len(found) > _PROBLEM_LIMIT:
            found[_PROBLEM_LIMIT:] = [f"and {len(found) - _PROBLEM_LIMIT} more"]
        return tuple(found)

    def problem(self, text: str) -> None:
        """Add what is wrong with a row that was not even one."""
        self._problems.append(text)

    def _statement(self, name: str, row: msgspec.Raw | bytes, first: int | None) -> Iterator[Statement]:
        shape = self._shape
        try:
            fields = _fields_of(row)
            kept = {path: found for path in self._kept if (found := _scalar(fields, path)) is not None}
            foreign = self._foreign(fields, kept)
        except _UNREADABLE:
            self._problems.append(f"{name} is no JSON object")
            return
        starts_at = self._starts_at(kept, first)
        if isinstance(starts_at, str):
            self._problems.append(f"{name}: {starts_at}")
            return
        self.oldest = starts_at if self.oldest is None else min(self.oldest, starts_at)
        ends_at = self._ends_at(starts_at)
        if ends_at is None and not self._period.start <= starts_at < self._period.end:
            return
        if ends_at is not None and not (starts_at < self._period.end and ends_at > self._period.start):
            return
        amount = None
        given = _first(kept, shape.amount)
        images, requests = _count(kept, shape.images), _count(kept, shape.requests)
        if ends_at is not None and given is None and images is None and requests is None:
            self._problems.append(f"{name} is a sum of nothing that is known")
            return
        if given is not None and given != "":
            assert shape.unit.of_usd is not None
            numerator, denominator = shape.unit.of_usd
            amount = signed(_money(given), NANO_PER_USD * numerator, denominator)
            if foreign:
                amount = None
                self._problems.append(f"{name}: its amount is in {foreign[:40]!r}, not in USD; it is kept as unknown")
            elif amount is None:
                self._problems.append(f"{name}: {given[:40]!r} is no amount; it is kept as unknown")
        ids = tuple(dict.fromkeys(text for path in shape.ids if (text := bounded(_plain_of(kept, path))) is not None))
        raw = b"{" + b",".join(_pair(path, text) for path, (_, text) in kept.items()) + b"}"
        yield Statement(
            gateway=self._gateway,
            source=self._source,
            external_id=ids[0] if ids else self._natural_id(kept, starts_at, raw, foreign),
            grain=self._grain,
            starts_at=starts_at,
            ends_at=ends_at,
            ids=ids,
            model=bounded(_first(kept, shape.model)),
            amount=amount,
            images=images,
            requests=1 if self._grain == "request" else requests,
            status=_status(kept, shape.status),
            label=bounded(" / ".join(filter(None, (_plain_of(kept, path) for path in shape.label)))),
            raw=raw.decode(),
            read_at=self._read_at,
        )

    def _starts_at(self, kept: Mapping[DocumentPath, tuple[object, bytes]], first: int | None) -> int | str:
        """Return when the row begins, or what is wrong with that."""
        given = _first(kept, self._shape.time)
        if given is None:
            return first if first is not None else "it has no time"
        found = _moment(given)
        if found is None:
            return f"{given[:40]!r} is no time"
        if found % _LENGTHS.get(self._grain, 1):
            return f"{given[:40]!r} does not begin a {self._grain} of UTC"
        return found

    def _ends_at(self, starts_at: int) -> int | None:
        if self._grain == "month":
            return self._period.end
        length = _LENGTHS.get(self._grain)
        return None if length is None else starts_at + length

    def _foreign(self, fields: Mapping[str, msgspec.Raw], kept: dict[DocumentPath, tuple[object, bytes]]) -> str | None:
        """Return the currency of the amount where it is another one than USD; what was found beside it is kept."""
        amount = next((path for path in self._shape.amount if path in kept), None)
        places = self._shape.currency
        if not places and amount is not None:
            beside = _beside(fields, amount)
            kept |= beside
            places = tuple(beside)
        said = (text.strip() for path in places if (text := _plain_of(kept, path)) is not None)
        return next((text for text in said if text and text.lower() != "usd"), None)

    def _natural_id(
        self, kept: Mapping[DocumentPath, tuple[object, bytes]], starts_at: int, raw: bytes, foreign: str | None
    ) -> str:
        if self._shape.key:
            told_apart = [_plain_of(kept, path) for path in self._shape.key]
            # A line may have a sum in each currency.
            return external_id_of([str(starts_at), *told_apart, *([foreign] if foreign else [])])
        text = raw.decode()
        ordinal = self._alike[key := external_id_of([text])]
        self._alike[key] += 1
        return external_id_of([text], ordinal)


def unexpected(where: str) -> SourceError:
    """Return the error for a document that is not what the gateway documents."""
    return SourceError(f"{where}: the answer is not the report that is documented. What had been read before is kept")


def _scalar(fields: Mapping[str, msgspec.Raw], path: DocumentPath) -> tuple[object, bytes] | None:
    """Return what stands at a path of a row, and its text; None for nothing, null, lists and objects."""
    steps: Sequence[str | int | None] = path.steps
    found = fields.get(path) if len(steps) > 1 else None
    if found is None:
        for at, step in enumerate(steps):
            if at:
                assert found is not None
                if bytes(found).lstrip()[:1] != b"{":
                    return None
                fields = _fields_of(found)
            found = fields.get(step) if isinstance(step, str) else None
            if found is None:
                return None
    assert found is not None
    text = bytes(found).strip()
    if text[:1] in b"{[n":
        return None
    value: object = _value_of(text)
    if len(text) > _KEPT_LIMIT:
        value = str(value)[: _KEPT_LIMIT // 2]
        text = msgspec.json.encode(value)
    return value, text


def _beside(fields: Mapping[str, msgspec.Raw], amount: DocumentPath) -> dict[DocumentPath, tuple[object, bytes]]:
    """Return what is nearest to an amount as its currency: in its own object, else in one around it."""
    levels = [("", fields)]
    for step in amount.steps[:-1]:
        prefix, level = levels[-1]
        inner = level.get(step) if isinstance(step, str) else None
        if inner is None or bytes(inner).lstrip()[:1] != b"{":
            break
        levels.append((f"{prefix}{step}.", _fields_of(inner)))
    for prefix, level in reversed(levels):
        names = currencies_beside(level, "" if prefix else amount)
        found = {
            DocumentPath(prefix + name): value
            for name in names
            if (value := _scalar(level, DocumentPath(name))) is not None and _plain(value[0]).strip()
        }
        if found:
            return found
    return {}


def _pair(path: DocumentPath, text: bytes) -> bytes:
    return msgspec.json.encode(str(path)) + b":" + text


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _plain_of(kept: Mapping[DocumentPath, tuple[object, bytes]], path: DocumentPath) -> str | None:
    found = kept.get(path)
    return None if found is None else _plain(found[0])


def _first(kept: Mapping[DocumentPath, tuple[object, bytes]], several: Paths) -> str | None:
    return next((text for path in several if (text := _plain_of(kept, path)) is not None), None)


def _count(kept: Mapping[DocumentPath, tuple[object, bytes]], several: Paths) -> int | None:
    text = _first(kept, several)
    return None if text is None else count(whole(text.strip()))


def _money(text: str) -> str:
    """Return an amount without what people write around it: a dollar sign, commas between thousands.

    A single comma may be a decimal one, as in 0,040 or 1,250: it is taken out only where a point tells that it is none.
    """
    text = text.strip()
    sign, rest = ("-", text[1:]) if text.startswith("-") else ("", text)
    rest = rest.removeprefix("$").removesuffix(" USD")
    return sign + (rest.replace(",", "") if _WITH_COMMAS.fullmatch(rest) else rest)


def _status(kept: Mapping[DocumentPath, tuple[object, bytes]], several: Paths) -> StatementStatus | None:
    text = (_first(kept, several) or "").strip().lower()
    if text.isascii() and text.isdecimal() and len(text) == 3:
        return "succeeded" if text < "400" else "failed"
    return "succeeded" if text in _SUCCEEDED else "failed" if text in _FAILED else None


def _moment(text: str) -> int | None:
    """Return the microseconds of a time as text: a Unix time of any unit, or ISO 8601, which is UTC without a zone."""
    text = _UTC_WORD.sub("", text.strip()[:64])
    if _NUMBER.fullmatch(text) and len(text) != len("20261105"):
        number = _UNIX_TIME.fullmatch(text)
        units = ((factor, divisor) for limit, factor, divisor in _TIME_UNITS if number and int(number[1]) < limit)
        factor, divisor = next(units, (0, 0))
        return signed(text, factor, divisor) if divisor else None
    try:
        found = datetime.fromisoformat(text)
        return microseconds_of(found if found.tzinfo else found.replace(tzinfo=UTC))
    except (ValueError, OverflowError):
        return None
