"""Gateway profiles: where a gateway says what a call cost, which model ran and whom to ask. Pure data."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Annotated, Any, Literal, NamedTuple, assert_never

import msgspec

from pixelmeter.core.apis.usage import NumberText
from pixelmeter.core.attempts.record import NANO_PER_USD, Operation
from pixelmeter.core.memo import Memo
from pixelmeter.core.text import bounded, scaled
from pixelmeter.core.wire.headers import Headers, without_root

__all__ = [
    "CostReader",
    "DefaultModel",
    "HeaderName",
    "Profile",
    "ProfileError",
    "Profiles",
    "Region",
    "Surcharge",
    "is_in_force",
    "read_profile",
    "text_at",
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


_REMEMBERED_HOSTS = 1000

Unit = Literal["usd", "cents", "usd_ticks"]

ProfileError = msgspec.ValidationError


class HeaderName(bytes):
    """The name of a header, in lower case; a profile's file has it as text."""

    __slots__ = ()


class _Data(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pass


class Match(_Data, frozen=True):
    """When a profile applies: by host (globs, with the port if it is not the scheme's own) or by what answers."""

    hosts: tuple[str, ...] = ()
    response_header_prefixes: tuple[HeaderName, ...] = ()


class CostReader(_Data, frozen=True, rename={"source": "from"}):
    """One place where a gateway reports a cost."""

    source: Literal["header", "body"]
    name: str
    """A header, or a path of keys with dots in the JSON body."""
    unit: Unit
    zero_is_real: bool = False
    """Whether a reported 0 means free; else it proves nothing."""

    def __post_init__(self) -> None:
        _ = self.header

    @property
    def header(self) -> HeaderName | None:
        """The header; None where it is the body that tells."""
        return _header_name(self.name) if self.source == "header" else None

    def text(self, headers: Headers, body: Mapping[str, Any]) -> str | None:
        """Return the amount that a response has in this place, as text; None where it has none."""
        header = self.header
        if header is None:
            return text_at(body, self.name)
        value = headers.get(header)
        return None if value is None else value.decode("latin-1")

    def nano(self, text: str) -> int | None:
        """Return the nano-dollars of the text; None if it is not a sane amount."""
        match self.unit:
            case "usd":
                return scaled(text, NANO_PER_USD)
            case "cents":
                return scaled(text, NANO_PER_USD // 100)
            case "usd_ticks":  # xAI: 10^10 ticks are a dollar
                return scaled(text, 1, 10)
            case _:
                assert_never(self.unit)


def text_at(body: Mapping[str, Any], path: str) -> str | None:
    """Return the text or number under a path of keys with dots, as text; None where there is none."""
    value: Any = body
    for key in path.split("."):
        if not isinstance(value, dict):
            return None
        value = value.get(key)  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
    if isinstance(value, bool):
        return None
    return str(value) if isinstance(value, NumberText | str | int) else None


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


class Errors(_Data, frozen=True):
    """Which failures the gateway says it does not charge."""

    not_charged: frozenset[int] = frozenset()


class Profile(_Data, frozen=True, dict=True):
    """One gateway."""

    id: str
    evidence: str = ""
    generic: bool = False
    """The profile of hosts that no other one knows: attempts are then named after the host."""
    pass_through: tuple[str, ...] = ()
    """Vendors whose prices hold behind this gateway."""
    match: Match = Match()
    cost: tuple[CostReader, ...] = ()
    identity: Identity = Identity()
    default_model: tuple[DefaultModel, ...] = ()
    byok: Byok | None = None
    tag: Tag | None = None
    fee: Fee = Fee()
    limits: Limits = Limits()
    errors: Errors = Errors()
    deployments: dict[str, str] = {}
    """Deployment name -> model, where requests name deployments."""
    region: tuple[Region, ...] = ()

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
    return msgspec.convert(data, Profile, dec_hook=_decode)


def _decode(kind: type[Any], value: object) -> HeaderName:
    if kind is not HeaderName:
        raise NotImplementedError
    return _header_name(value)


def _header_name(text: object) -> HeaderName:
    if not isinstance(text, str) or not text.isascii():
        raise ValueError(f"{text!r} is not the name of a header")
    return HeaderName(text.lower().encode())


class Deciding(NamedTuple):
    """The headers and body fields of a response that decide its cost, model and provider."""

    headers: tuple[HeaderName, ...]
    paths: tuple[str, ...]


def _deciding(profile: Profile) -> Deciding:
    headers = [reader.header for reader in profile.cost if reader.header is not None]
    paths = [reader.name for reader in profile.cost if reader.header is None]
    return Deciding((*profile.identity.model, *profile.identity.provider, *headers), tuple(paths))


def _looking_for_keys(generic: Profile, profiles: Sequence[Profile]) -> Profile:
    """Return the generic profile with the sign of a caller's own key: only the response shows which gateway it is."""
    shown = [profile.byok for profile in profiles if profile.match.response_header_prefixes and profile.byok]
    return msgspec.structs.replace(generic, byok=shown[0]) if shown and generic.byok is None else generic


class Profiles:
    """Finds the profile of a host, and of an answer."""

    def __init__(self, profiles: Sequence[Profile], hosts: Mapping[str, str]) -> None:
        generic = next((profile for profile in profiles if profile.generic), Profile(id="generic", generic=True))
        self._generic = _looking_for_keys(generic, profiles)
        profiles = [self._generic if profile is generic else profile for profile in profiles]
        by_id = {profile.id: profile for profile in profiles}
        self.ids = tuple(by_id)
        self.profiles = tuple(by_id.values())
        self._patterns = [(pattern.lower(), by_id[name]) for pattern, name in hosts.items()]
        self._patterns += [(pattern, profile) for profile in profiles for pattern in profile.match.hosts]
        self._prefixes = [
            (prefix, profile) for profile in profiles for prefix in profile.match.response_header_prefixes
        ]
        self._hosts: Memo[str, Profile] = Memo(_REMEMBERED_HOSTS)
        self.deciding = {profile.id: _deciding(profile) for profile in (*profiles, self._generic)}
        """By id of a profile."""

    def of_host(self, host: str) -> Profile:
        """Return the profile of `host` or `host:port` (lower case)."""
        profile = self._hosts.get(host)
        if profile is None:
            plain = without_root(host)
            profile = next((p for pattern, p in self._patterns if fnmatchcase(plain, pattern)), self._generic)
            self._hosts.keep(host, profile)
        return profile

    def of_response(self, profile: Profile, headers: Headers) -> Profile:
        """Return the profile that the response headers (lower-case names) show, where the host alone told nothing."""
        if not profile.generic:
            return profile
        for prefix, shown in self._prefixes:
            if any(name.startswith(prefix) for name in headers):
                return shown
        return profile
