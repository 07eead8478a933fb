"""The settings that come from the environment; nothing else in pixelmeter reads it.

But for the two switches of zero code, which are read before anything is imported: `pixelmeter.auto` has them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Literal

import msgspec

from pixelmeter.core.gateways.signatures import checked_secrets, keys_of
from pixelmeter.core.text import bytes_in, scaled
from pixelmeter.errors import ConfigError

__all__ = [
    "COST_ATTRIBUTES",
    "DURABILITIES",
    "SINKS",
    "SPOOL_LIMIT",
    "VARIABLES",
    "CostAttributes",
    "Durability",
    "Settings",
    "absolute_path",
    "auto_switch",
    "checked_schema",
    "from_environment",
    "misspelt",
    "usage_key",
    "usage_key_gateways",
    "usage_key_names",
]

Durability = Literal["process", "sync"]
DURABILITIES: tuple[Durability, ...] = ("process", "sync")
CostAttributes = Literal["semconv", "openlit"]
COST_ATTRIBUTES: tuple[CostAttributes, ...] = ("semconv", "openlit")
SINKS = ("otel", "prometheus")
SPOOL_LIMIT = 1 << 30
"""Bytes."""

VARIABLES: Mapping[str, str] = {
    "PIXELMETER_DATABASE_URL": "the ledger",
    "PIXELMETER_SCHEMA": "the schema of PostgreSQL that the ledger is in",
    "PIXELMETER_TAGS": "tags of every attempt",
    "PIXELMETER_PRICES": "a price file of your own",
    "PIXELMETER_GATEWAYS": "hosts and their gateway profiles",
    "PIXELMETER_PROFILES": "gateway profiles of your own",
    "PIXELMETER_BUDGETS": "a file of budgets",
    "PIXELMETER_FEE_PERCENT": "the gateway's fee",
    "PIXELMETER_SINKS": "live views to turn on",
    "PIXELMETER_COST_ATTRIBUTES": "names of the cost on spans",
    "PIXELMETER_WEBHOOK_SECRETS": "what webhooks are checked with",
    "PIXELMETER_USAGE_KEYS": "keys to ask gateways for their usage with",
    "PIXELMETER_NOTIFY_SECRET": "what notices of budgets and of checks are signed with",
    "PIXELMETER_CHECK_WEBHOOK": "the URL that `pixelmeter check` posts findings to",
    "PIXELMETER_SPOOL_DIR": "where attempts wait for the ledger",
    "PIXELMETER_SPOOL_LIMIT": "how many bytes may wait there",
    "PIXELMETER_DURABILITY": "what an attempt survives",
    "PIXELMETER_WRITE_INTERVAL": "seconds between two writes to the ledger",
    "PIXELMETER_AUTO": "whether pixelmeter-auto meters every program",
    "PIXELMETER_DISABLED": "whether programs are not metered without code",
}
"""Every variable of pixelmeter's own, and what it is for."""

_USAGE_KEYS = "PIXELMETER_USAGE_KEYS"
_KEYS_OF_VENDORS: Mapping[str, tuple[str, ...]] = {
    "aigateway": ("AIGATEWAY_API_KEY",),
    "cloudflare-ai-gateway": ("CLOUDFLARE_API_TOKEN",),
    "litellm": ("LITELLM_API_KEY", "LITELLM_MASTER_KEY"),
    "openai": ("OPENAI_ADMIN_KEY",),
    "openrouter": ("OPENROUTER_API_KEY",),
}
"""What the vendors' own tools read."""

_LEAST_SPOOL_LIMIT = 1 << 20
_SCHEMA = re.compile("(?!pg_)[a-z_][a-z0-9_]{0,62}")
_PREFIX = "PIXELMETER_"
# Of the test suite, which runs the commands with its own environment.
_TESTS = f"{_PREFIX}TEST_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What `PIXELMETER_*` variables say."""

    database_url: str = "sqlite:///pixelmeter.db"
    """`PIXELMETER_DATABASE_URL`: the SQLAlchemy URL of the ledger."""
    schema: str | None = None
    """`PIXELMETER_SCHEMA`: the schema that a ledger of PostgreSQL is in; by default the first of the search path."""
    spool_dir: str | None = None
    """`PIXELMETER_SPOOL_DIR`: the spool folder; by default it follows from the database."""
    spool_limit: int = SPOOL_LIMIT
    """`PIXELMETER_SPOOL_LIMIT`: how many bytes that the ledger does not have a spool folder may hold."""
    state_dir: str | None = None
    """Where spools of server databases live: `$XDG_STATE_HOME`, else `~/.local/state`; None without a home folder."""
    prices: str | None = None
    """`PIXELMETER_PRICES`: a price file whose entries win over the bundled ones."""
    profiles: str | None = None
    """`PIXELMETER_PROFILES`: a gateway profile file, or a folder of them, that win over the bundled ones."""
    gateways: Mapping[str, str] = field(default_factory=dict[str, str])
    """`PIXELMETER_GATEWAYS`: `host=profile` pairs with commas between, or a JSON object."""
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    """`PIXELMETER_TAGS`: `key=value` pairs with commas between, or a JSON object; put on every attempt."""
    budgets: str | None = None
    """`PIXELMETER_BUDGETS`: a file of budgets."""
    fee_rate: int | None = None
    """`PIXELMETER_FEE_PERCENT`: the gateway's fee in parts per million; None leaves it to the profile."""
    durability: Durability = "process"
    """`PIXELMETER_DURABILITY`: `process` survives a kill, `sync` also a power cut (an fsync for every attempt)."""
    write_interval: float = 1.0
    """`PIXELMETER_WRITE_INTERVAL`: seconds between two writes to the ledger, 0 to 3600."""
    sinks: tuple[str, ...] = ()
    """`PIXELMETER_SINKS`: live views to turn on, `prometheus` and `otel`, with a comma between."""
    cost_attributes: CostAttributes | None = None
    """`PIXELMETER_COST_ATTRIBUTES`: other people's names for the cost on spans, `semconv` or `openlit`."""
    webhook_secrets: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]], repr=False)
    """`PIXELMETER_WEBHOOK_SECRETS`: `profile=secret` pairs with commas between, or a JSON object; by profile."""
    notify_keys: tuple[bytes, ...] = field(default=(), repr=False)
    """`PIXELMETER_NOTIFY_SECRET`: what notices of budgets are signed with, `whsec_…` as Standard Webhooks has it; of
    several, with commas between, each makes a signature."""
    check_webhook: str | None = field(default=None, repr=False)
    """`PIXELMETER_CHECK_WEBHOOK`: the URL that `pixelmeter check` posts findings to, a secret."""
    latest_conventions: bool = False
    """`OTEL_SEMCONV_STABILITY_OPT_IN` has `gen_ai_latest_experimental`: metrics take their newer names."""


def from_environment(environment: Mapping[str, str] | None = None) -> Settings:
    """Read the settings; ConfigError names the variable that cannot be used.

    An empty variable is one that is not set, spaces around a value are dropped, and relative paths become absolute.
    """
    env = os.environ if environment is None else environment
    durability = _text(env, "PIXELMETER_DURABILITY") or "process"
    if durability not in DURABILITIES:
        raise ConfigError(f"PIXELMETER_DURABILITY is {durability[:40]!r}: use one of {', '.join(DURABILITIES)}")
    return Settings(
        database_url=_text(env, "PIXELMETER_DATABASE_URL") or "sqlite:///pixelmeter.db",
        schema=_schema(env),
        spool_dir=_path(env, "PIXELMETER_SPOOL_DIR"),
        spool_limit=_spool_limit(env),
        state_dir=_state_dir(env),
        prices=_path(env, "PIXELMETER_PRICES"),
        profiles=_path(env, "PIXELMETER_PROFILES"),
        gateways=_pairs(env, "PIXELMETER_GATEWAYS"),
        tags=_pairs(env, "PIXELMETER_TAGS"),
        budgets=_path(env, "PIXELMETER_BUDGETS"),
        fee_rate=_fee_rate(env),
        durability="sync" if durability == "sync" else "process",
        write_interval=_write_interval(env),
        sinks=_sinks(env),
        cost_attributes=_cost_attributes(env),
        webhook_secrets=_secrets(env, "PIXELMETER_WEBHOOK_SECRETS"),
        notify_keys=_notify_keys(env),
        check_webhook=_text(env, "PIXELMETER_CHECK_WEBHOOK"),
        latest_conventions="gen_ai_latest_experimental" in _words(env, "OTEL_SEMCONV_STABILITY_OPT_IN"),
    )


def usage_key(gateway: str, environment: Mapping[str, str] | None = None) -> str | None:
    """Return the key to ask a gateway for its usage with: that of `PIXELMETER_USAGE_KEYS`, else the vendor's own.

    None where neither has one. It is read only when it is needed, and kept nowhere. ConfigError, which shows no key,
    for a variable that cannot be used.
    """
    env = os.environ if environment is None else environment
    given = _secrets(env, _USAGE_KEYS).get(gateway, ())
    if len(given) > 1:
        raise ConfigError(f"{_USAGE_KEYS} has several keys for {gateway}: leave one")
    names = _KEYS_OF_VENDORS.get(gateway, ())
    return next((key for key in (*given, *(_text(env, name) for name in names)) if key), None)


def usage_key_gateways(environment: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Return which gateways `PIXELMETER_USAGE_KEYS` has keys for; ConfigError, which shows no key."""
    return tuple(_secrets(os.environ if environment is None else environment, _USAGE_KEYS))


def usage_key_names(gateway: str) -> str:
    """Return which variables `usage_key` reads for a gateway, to be told to people."""
    return " or ".join((_USAGE_KEYS, *_KEYS_OF_VENDORS.get(gateway, ())))


def auto_switch(environment: Mapping[str, str] | None = None) -> str | None:
    """Return what `PIXELMETER_AUTO` says, which pixelmeter-auto reads by itself; None where it is unset."""
    return _text(os.environ if environment is None else environment, "PIXELMETER_AUTO")


def misspelt(
    environment: Mapping[str, str] | None = None, *, besides: Collection[str] = ()
) -> Mapping[str, str | None]:
    """Return the variables that look like ours and are none, each with the one that was meant if one is close.

    Those in `besides` are somebody else's.
    """
    env = os.environ if environment is None else environment
    endings = [name.removeprefix(_PREFIX) for name in VARIABLES]
    found: dict[str, str | None] = {}
    for name in sorted(env):
        plain = name.upper().replace("-", "_")
        if name in VARIABLES or name in besides or plain.startswith(_TESTS):
            continue
        if plain.startswith(_PREFIX):
            near = get_close_matches(plain.removeprefix(_PREFIX), endings, n=1)
            found[name] = _PREFIX + near[0] if near else None
        elif close := get_close_matches(plain, VARIABLES, n=1, cutoff=0.85):
            found[name] = close[0]
    return found


def absolute_path(path: str, named: str) -> str:
    """Return a path that stays the same wherever the program goes: absolute, `~` replaced by the home folder.

    ConfigError, which says what was `named` so, where there is no home folder, or where the current folder is gone.
    """
    if "\0" in path:
        raise ConfigError(f"{named} has a NUL character, which no path can have")
    expanded = _expanded(path)
    if expanded is None:
        user, home = path[1:].partition("/")[0], "HOME is not set and this user has no home folder"
        raise ConfigError(f"{named} begins with ~, but {f'there is no user {user[:40]!r}' if user else home}")
    try:
        return os.path.abspath(expanded)
    except OSError as error:
        raise ConfigError(
            f"{named} is a relative path, and the current folder cannot be told ({error.strerror}): "
            "write an absolute path"
        ) from None


def _expanded(path: str) -> str | None:
    if not path.startswith("~"):
        return path
    user, slash, rest = path.partition("/")
    if user == "~":
        home = _home(os.environ)
        return None if home is None else os.path.join(home, rest)
    expanded = os.path.expanduser(path)
    # Without a slash it may as well be the name of a file.
    return None if expanded == path and slash else expanded


def checked_schema(name: str, named: str) -> str:
    """Return the name of a schema of PostgreSQL; ConfigError, which says what was `named` so, for one that is none."""
    if _SCHEMA.fullmatch(name) is None:
        raise ConfigError(
            f"{named} is {name[:70]!r}: use at most 63 lower-case letters, digits and _, the first no digit, "
            "and no pg_ in front"
        )
    return name


def _secrets(env: Mapping[str, str], name: str) -> dict[str, tuple[str, ...]]:
    text = _text(env, name) or ""
    if text.startswith("{"):
        try:
            given = msgspec.json.decode(text)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            raise ConfigError(f"{name} starts like a JSON object and is not valid JSON") from None
        return checked_secrets(given, name)
    found: dict[str, list[str]] = {}
    for at, item in enumerate(filter(None, (part.strip() for part in text.split(","))), 1):
        profile, _, secret = (part.strip() for part in item.partition("="))
        if not profile or not secret:
            raise ConfigError(f"{name}: entry {at} is no PROFILE=SECRET; write such pairs with commas between, or JSON")
        found.setdefault(profile, []).append(secret)
    return checked_secrets(found, name)


def _notify_keys(env: Mapping[str, str]) -> tuple[bytes, ...]:
    name = "PIXELMETER_NOTIFY_SECRET"
    found: list[bytes] = []
    for at, secret in enumerate(_words(env, name), 1):
        keys = keys_of("standard_webhooks", secret)
        if not keys:
            raise ConfigError(f"{name}: secret {at} is no base64: write such as whsec_ and `openssl rand -base64 32`")
        found += keys
    return tuple(found)


def _schema(env: Mapping[str, str]) -> str | None:
    text = _text(env, "PIXELMETER_SCHEMA")
    return None if text is None else checked_schema(text, "PIXELMETER_SCHEMA")


def _state_dir(env: Mapping[str, str]) -> str | None:
    given = _text(env, "XDG_STATE_HOME")
    # The specification says to ignore one that is relative.
    if given is not None and os.path.isabs(given):
        return given
    home = _home(env)
    return None if home is None else os.path.join(os.path.abspath(home), ".local", "state")


def _home(env: Mapping[str, str]) -> str | None:
    """Return the user's home folder; None for a user who has none, such as a container's id without a name."""
    given = _text(env, "HOME")
    if given is not None:
        return given
    try:
        import pwd
    except ImportError:  # Windows
        home = os.path.expanduser("~")
        return None if home == "~" else home
    try:
        return pwd.getpwuid(os.getuid()).pw_dir or None
    except KeyError:
        return None


def _text(env: Mapping[str, str], name: str) -> str | None:
    return env.get(name, "").strip() or None


def _path(env: Mapping[str, str], name: str) -> str | None:
    text = _text(env, name)
    return None if text is None else absolute_path(text, name)


def _pairs(env: Mapping[str, str], name: str) -> dict[str, str]:
    text = _text(env, name) or ""
    if text.startswith("{"):
        try:
            return msgspec.json.decode(text, type=dict[str, str])
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            raise ConfigError(f"{name} is no JSON object of strings: {str(error)[:200]}") from None
    pairs: dict[str, str] = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        key, separator, value = item.partition("=")
        if not separator or not key.strip() or not value.strip():
            raise ConfigError(f"{name} has {item[:80]!r}: write NAME=VALUE pairs with commas between, or a JSON object")
        pairs[key.strip()] = value.strip()
    return pairs


def _sinks(env: Mapping[str, str]) -> tuple[str, ...]:
    names = _words(env, "PIXELMETER_SINKS")
    for name in names:
        if name not in SINKS:
            raise ConfigError(f"PIXELMETER_SINKS has {name[:40]!r}: use {', '.join(SINKS)}, with a comma between")
    return names


def _cost_attributes(env: Mapping[str, str]) -> CostAttributes | None:
    text = _text(env, "PIXELMETER_COST_ATTRIBUTES")
    if text is None:
        return None
    for known in COST_ATTRIBUTES:
        if text == known:
            return known
    raise ConfigError(f"PIXELMETER_COST_ATTRIBUTES is {text[:40]!r}: use one of {', '.join(COST_ATTRIBUTES)}")


def _words(env: Mapping[str, str], name: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(filter(None, (word.strip() for word in env.get(name, "").split(",")))))


def _write_interval(env: Mapping[str, str]) -> float:
    text = env.get("PIXELMETER_WRITE_INTERVAL", "").strip()
    if not text:
        return 1.0
    milliseconds = scaled(text, 1000)
    if milliseconds is None or milliseconds > 3_600_000:
        raise ConfigError(f"PIXELMETER_WRITE_INTERVAL is {text[:40]!r}: use seconds from 0 to 3600, such as 0.5")
    return milliseconds / 1000


def _spool_limit(env: Mapping[str, str]) -> int:
    text = _text(env, "PIXELMETER_SPOOL_LIMIT")
    if text is None:
        return SPOOL_LIMIT
    size = bytes_in(text)
    if size is None or size < _LEAST_SPOOL_LIMIT:
        raise ConfigError(
            f"PIXELMETER_SPOOL_LIMIT is {text[:40]!r}: use bytes, at least 1M, such as 200M, 1.5GiB or 2000000000"
        )
    return size


def _fee_rate(env: Mapping[str, str]) -> int | None:
    text = _text(env, "PIXELMETER_FEE_PERCENT")
    if text is None:
        return None
    rate = scaled(text, 10_000)
    if rate is None or rate > 1_000_000:
        raise ConfigError(f"PIXELMETER_FEE_PERCENT is {text[:40]!r}: use a percentage from 0 to 100, such as 5")
    return rate
