"""Gateway profiles: where a gateway says what a call cost, which model ran and whom to ask. Pure data."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Annotated, Any, Literal, Self

import msgspec

from pixelmeter.core.apis.reader import Reader, reader_of, readers
from pixelmeter.core.attempts.record import Operation
from pixelmeter.core.gateways.amounts import AmountReader, CostReader, HeaderName, Unit, header_name
from pixelmeter.core.gateways.jobs import Asks, Job, condition_of
from pixelmeter.core.gateways.places import Condition, DocumentPath, RequestPlace, RequestPlaces, ResponsePlaces
from pixelmeter.core.gateways.webhooks import Webhook
from pixelmeter.core.text import bounded
from pixelmeter.core.wire.headers import Headers

__all__ = [
    "Api",
    "DefaultModel",
    "Match",
    "Profile",
    "ProfileError",
    "Region",
    "RouteData",
    "Surcharge",
    "decode",
    "is_in_force",
    "read_profile",
]

_EPOCH = datetime.date(1970, 1, 1)


class Surcharge(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A surcharge on the price of some models."""

    models: tuple[str, ...]
    """Globs over the names that the price book has for them."""
    parts_per_million: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)]
    """Of the price: 10 % is 100_000; 0 says that nothing is added."""
    effective_from: datetime.date | None = None
    """The first day, UTC."""
    effective_to: datetime.date | None = None
    """The day after the last, UTC."""


class Region(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Hosts that do not have the plain price."""

    hosts: tuple[str, ...]
    """Globs; the first region that has the host is taken."""
    surcharge: tuple[Surcharge, ...] = ()

    def has(self, host: str) -> bool:
        """Return whether a host (lower case) is of this region."""
        return any(fnmatchcase(host, pattern) for pattern in self.hosts)

    def surcharge_of(self, model: str, day: int) -> int | None:
        """Return the parts per million that are added for a model on a day since 1970; None where nothing says it."""
        for surcharge in self.surcharge:
            if any(fnmatchcase(model, pattern) for pattern in surcharge.models) and is_in_force(
                day, surcharge.effective_from, surcharge.effective_to
            ):
                return surcharge.parts_per_million
        return None


def is_in_force(day: int, begin: datetime.date | None, end: datetime.date | None) -> bool:
    """Return whether a day since 1970 is at or after the first and before the second date."""
    date = _EPOCH + datetime.timedelta(days=day)
    return (begin is None or begin <= date) and (end is None or date < end)


class Api(str):
    """A family of requests and answers, named like the module in `core/apis` that reads it. ValueError for others."""

    __slots__ = ("reader",)

    reader: Reader

    def __new__(cls, text: str) -> Self:
        api = super().__new__(cls, text)
        reader = reader_of(text)
        if reader is None:
            raise ValueError(f"{text[:40]!r} is no API: write {', '.join(readers())}")
        api.reader = reader
        return api


ProfileError = msgspec.ValidationError


class _Data(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pass


class Match(_Data, frozen=True):
    """When a profile applies: by host (globs, with the port if it is not the scheme's own) or by what answers."""

    hosts: tuple[str, ...] = ()
    response_header_prefixes: tuple[HeaderName, ...] = ()


class RouteData(_Data, frozen=True):
    """One kind of image call, as a profile writes it."""

    path: Annotated[str, msgspec.Meta(pattern=r"^(\*\*)?/")]
    """The whole path: `{x}` stands for what one segment has there, `{x+}` for one or more segments; `**/` in front for
    any beginning."""
    api: Api
    operation: Operation
    method: Literal["GET", "POST", "PUT", "PATCH"] = "POST"
    pass_through: tuple[str, ...] = ()
    """Vendors whose prices hold here, instead of the profile's."""
    asks: Asks | tuple[Asks, ...] = ()
    """Places, and globs over their values: without one of them a request is no image call. Of a list of such tables
    each must be true."""
    unless: Asks = {}
    """Places, and globs over their values: with one of them a request is no image call."""
    quote: Asks = {}
    """Places, and globs over their values: with one of them a request only asks for a price, and is no attempt."""
    request: RequestPlaces = RequestPlaces()
    response: ResponsePlaces = ResponsePlaces()
    job: Job | None = None

    def __post_init__(self) -> None:
        _ = self.conditions, self.exclusions

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """What must all be true of an image call."""
        several = self.asks if isinstance(self.asks, tuple) else (self.asks,)
        return tuple(condition_of(asks) for asks in several)

    @property
    def exclusions(self) -> Condition:
        """What is true of a request that is another route's, or only asks for a price."""
        return (*condition_of(self.unless), *condition_of(self.quote))


class Inner(_Data, frozen=True):
    """The routes of another profile behind a prefix, for gateways that hand requests on as they are."""

    prefix: str
    profile: str
    strip: str = ""
    """What the paths of the other profile begin with, and these do not."""


class Routing(_Data, frozen=True):
    """Where a gateway that chooses the model says what it compares with, and what the choice cost and saved."""

    baseline_model: tuple[HeaderName, ...] = ()
    """Response headers, in order of preference."""
    baseline_cost: AmountReader | None = None
    """What the baseline model would have cost."""
    route_fee: AmountReader | None = None
    """What the gateway takes for choosing; kept beside the cost, never added to it."""
    savings: AmountReader | None = None
    """A negative amount counts, too: the choice may have been more expensive."""

    @property
    def readers(self) -> tuple[AmountReader, ...]:
        """Those that there are."""
        return tuple(one for one in (self.baseline_cost, self.route_fee, self.savings) if one is not None)


class Identity(_Data, frozen=True):
    """Response headers, in order of preference, and what else tells the model."""

    request_id: tuple[HeaderName, ...] = ()
    model: tuple[HeaderName, ...] = ()
    provider: tuple[HeaderName, ...] = ()
    hidden_models: tuple[str, ...] = ()
    """Requested models (globs) that name no model, only a way to choose one."""
    model_in_path: str | None = None
    """The path segment in front of the model (Azure: `deployments`)."""


class DefaultModel(_Data, frozen=True):
    """The model that runs where a request names none."""

    operation: Operation
    model: str
    """Or a way to choose one, such as "auto"."""
    effective_from: datetime.date | None = None
    """The first day, UTC."""
    effective_to: datetime.date | None = None
    """The day after the last, UTC."""
    unless_fields: tuple[str, ...] = ()
    """Fields of a request with which another model runs, and nobody says which."""


class Byok(_Data, frozen=True):
    """How a request says that it brings the provider's own key."""

    request_header_prefix: HeaderName = HeaderName()
    request_field: str = ""


class Tag(_Data, frozen=True):
    """The gateway's own header for a spend tag."""

    request_header: HeaderName
    limit: Annotated[int, msgspec.Meta(ge=1, le=256)] = 64
    """Characters; what is longer is cut before it is sent."""

    def cut(self, text: str) -> str:
        """Return the text as the gateway takes it: printable ASCII, no longer than the limit."""
        printable = bounded(text, self.limit) or ""
        return printable if printable.isascii() else printable.encode("ascii", "replace").decode()


class Fee(_Data, frozen=True):
    """What the gateway takes on top of the price."""

    parts_per_million: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 0


class Limits(_Data, frozen=True):
    """Where the gateway says how many requests are left."""

    remaining_requests: tuple[HeaderName, ...] = ()
    """Response headers, in order of preference, with the number of requests left in the window."""


class Cached(_Data, frozen=True):
    """How an answer says that it came from the gateway's own cache, so that nobody is billed for it."""

    header: HeaderName
    values: tuple[str, ...]
    """Globs, small and capital letters alike."""

    def holds(self, headers: Headers) -> bool:
        """Return whether an answer came from the cache."""
        word = headers.get(self.header, b"")[:100].decode("latin-1").casefold()
        return any(fnmatchcase(word, pattern.casefold()) for pattern in self.values)


class Errors(_Data, frozen=True):
    """Which failures the gateway says it does not charge."""

    not_charged: frozenset[int] = frozenset()
    """By status."""
    not_charged_types: tuple[str, ...] = ()
    """Globs over the error's type, whatever the status."""

    def has(self, status: int | None, error_type: str | None) -> bool:
        """Return whether a failure is not charged."""
        if status is not None and status in self.not_charged:
            return True
        return error_type is not None and any(fnmatchcase(error_type, pattern) for pattern in self.not_charged_types)


class Profile(_Data, frozen=True, dict=True):
    """One gateway."""

    id: str
    evidence: str = ""
    generic: bool = False
    """The profile of hosts that no other one knows: attempts are then named after the host."""
    pass_through: tuple[str, ...] = ()
    """Vendors whose prices hold behind this gateway."""
    match: Match = Match()
    route: tuple[RouteData, ...] = ()
    """Its image calls, the first that fits counts; without any, those of OpenAI's images API."""
    request: RequestPlaces = RequestPlaces()
    """For every route that does not say it itself."""
    response: ResponsePlaces = ResponsePlaces()
    job: Job | None = None
    inner: tuple[Inner, ...] = ()
    cost: tuple[CostReader, ...] = ()
    routing: Routing | None = None
    identity: Identity = Identity()
    default_model: tuple[DefaultModel, ...] = ()
    byok: Byok | None = None
    tag: Tag | None = None
    fee: Fee = Fee()
    limits: Limits = Limits()
    errors: Errors = Errors()
    cached: Cached | None = None
    size_names: dict[str, str] = {}
    """Name of a size, as requests have it -> width and height, such as "1024x1024"."""
    deployments: dict[str, str] = {}
    """Deployment name -> model, where requests name deployments."""
    region: tuple[Region, ...] = ()
    webhook: Webhook | None = None
    """How it tells of the end of jobs by itself."""

    @cached_property
    def request_fields(self) -> tuple[str, ...]:
        """The fields of a request that this profile asks about."""
        fields = [field for default in self.default_model for field in default.unless_fields]
        if self.byok is not None and self.byok.request_field:
            fields.append(self.byok.request_field)
        return tuple(dict.fromkeys(fields))

    def hides(self, model: str) -> bool:
        """Return whether a name of a model only says how to choose one: a list is an order in which to try."""
        return "," in model or any(fnmatchcase(model, pattern) for pattern in self.identity.hidden_models)

    def region_of(self, host: str) -> Region | None:
        """Return the region of a host (lower case); None where the plain price holds."""
        return next((region for region in self.region if region.has(host)), None)


# Has the types worked out while one thread imports this module: two that use one first at once end the process
# (msgspec 0.22.0).
msgspec.json.Decoder(Profile)


def read_profile(data: Mapping[str, Any]) -> Profile:
    """Make a profile of a parsed TOML file; ProfileError says which field is wrong."""
    return msgspec.convert(data, Profile, dec_hook=decode)


def decode(kind: type[Any], value: object) -> Any:
    """Make what a profile writes as text: an API, a place, a path, a unit, the name of a header."""
    if kind is HeaderName:
        return header_name(value)
    if kind not in (Api, Unit, DocumentPath, RequestPlace):
        raise NotImplementedError
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no text")
    return kind(value)
