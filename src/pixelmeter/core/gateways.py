"""Gateway profiles: where a gateway says what a call cost, which model ran and whom to ask. Pure data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal, NamedTuple

import msgspec

from pixelmeter.core.headers import Headers
from pixelmeter.core.hosts import without_root
from pixelmeter.core.record import NANO_PER_USD
from pixelmeter.core.text import scaled

__all__ = ["CostReader", "HeaderName", "Profile", "ProfileError", "Profiles", "read_profile"]

Unit = Literal["usd", "cents", "usd_ticks"]

_UNITS: dict[Unit, tuple[int, int]] = {
    "usd": (NANO_PER_USD, 1),
    "cents": (NANO_PER_USD // 100, 1),
    "usd_ticks": (1, 10),  # xAI: 10^10 ticks are a dollar
}

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

    def nano(self, text: str) -> int | None:
        """Return the nano-dollars of the text; None if it is not a sane amount."""
        nano, divisor = _UNITS[self.unit]
        return scaled(text, nano, divisor)


class Identity(_Data, frozen=True):
    """Response headers, in order of preference, and what else tells the model."""

    request_id: tuple[HeaderName, ...] = ()
    model: tuple[HeaderName, ...] = ()
    provider: tuple[HeaderName, ...] = ()
    hidden_models: tuple[str, ...] = ()
    """Requested models (globs) that name no model, only a way to choose one."""
    model_in_path: str | None = None
    """The path segment in front of the model (Azure: `deployments`)."""


class Byok(_Data, frozen=True):
    """How a request says that it brings the provider's own key."""

    request_header_prefix: HeaderName = HeaderName()
    request_field: str = ""


class Tag(_Data, frozen=True):
    """The gateway's own header for a spend tag."""

    request_header: HeaderName
    limit: int = 64


class Fee(_Data, frozen=True):
    """What the gateway takes on top of the price."""

    parts_per_million: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 0


class Limits(_Data, frozen=True):
    """Where the gateway says how much more it takes."""

    remaining_requests: tuple[HeaderName, ...] = ()
    """Response headers, in order of preference, with the number of requests left in the window."""


class Errors(_Data, frozen=True):
    """Which failures the gateway says it does not charge."""

    not_charged: frozenset[int] = frozenset()


class Profile(_Data, frozen=True):
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
    byok: Byok | None = None
    tag: Tag | None = None
    fee: Fee = Fee()
    limits: Limits = Limits()
    errors: Errors = Errors()
    deployments: dict[str, str] = {}
    """Deployment name -> model, where requests name deployments."""


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
    """What of an answer a profile looks at for its cost, model and provider."""

    headers: tuple[HeaderName, ...]
    paths: tuple[str, ...]


def _deciding(profile: Profile) -> Deciding:
    headers = [reader.header for reader in profile.cost if reader.header is not None]
    paths = [reader.name for reader in profile.cost if reader.header is None]
    return Deciding((*profile.identity.model, *profile.identity.provider, *headers), tuple(paths))


class Profiles:
    """Finds the profile of a host, and of an answer."""

    def __init__(self, profiles: Sequence[Profile], hosts: Mapping[str, str]) -> None:
        by_id = {profile.id: profile for profile in profiles}
        self.ids = tuple(by_id)
        self._generic = next((profile for profile in profiles if profile.generic), Profile(id="generic", generic=True))
        self._patterns = [(pattern.lower(), by_id[name]) for pattern, name in hosts.items()]
        self._patterns += [(pattern, profile) for profile in profiles for pattern in profile.match.hosts]
        self._prefixes = [
            (prefix, profile) for profile in profiles for prefix in profile.match.response_header_prefixes
        ]
        self._known: dict[str, Profile] = {}
        self.deciding = {profile.id: _deciding(profile) for profile in (*profiles, self._generic)}
        """By id of a profile, what of an answer decides its cost, model and provider."""

    def of_host(self, host: str) -> Profile:
        """Return the profile of `host` or `host:port` (lower case)."""
        profile = self._known.get(host)
        if profile is None:
            plain = without_root(host)
            profile = next((p for pattern, p in self._patterns if fnmatchcase(plain, pattern)), self._generic)
            if len(self._known) < 1000:
                self._known[host] = profile
        return profile

    def of_answer(self, profile: Profile, headers: Headers) -> Profile:
        """Return the profile that the response headers (lower-case names) show, where the host alone told nothing."""
        if not profile.generic:
            return profile
        for prefix, shown in self._prefixes:
            if any(name.startswith(prefix) for name in headers):
                return shown
        return profile
