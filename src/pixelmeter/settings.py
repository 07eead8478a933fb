"""The settings that come from the environment; nothing else in pixelmeter reads it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import msgspec

from pixelmeter.core.text import scaled
from pixelmeter.errors import ConfigError

__all__ = ["COST_ATTRIBUTES", "DURABILITIES", "SINKS", "CostAttributes", "Durability", "Settings", "from_environment"]

Durability = Literal["process", "sync"]
DURABILITIES: tuple[Durability, ...] = ("process", "sync")
CostAttributes = Literal["semconv", "openlit"]
COST_ATTRIBUTES: tuple[CostAttributes, ...] = ("semconv", "openlit")
SINKS = ("otel", "prometheus")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What `PIXELMETER_*` variables say."""

    database_url: str = "sqlite:///pixelmeter.db"
    """`PIXELMETER_DATABASE_URL`: the SQLAlchemy URL of the ledger."""
    spool_dir: str | None = None
    """`PIXELMETER_SPOOL_DIR`: the spool folder; by default it follows from the database."""
    state_dir: str = ""
    """Where spools of server databases live: `$XDG_STATE_HOME`, else `~/.local/state`."""
    prices: str | None = None
    """`PIXELMETER_PRICES`: a price file whose entries win over the bundled ones."""
    profiles: str | None = None
    """`PIXELMETER_PROFILES`: a gateway profile file, or a folder of them, that win over the bundled ones."""
    gateways: Mapping[str, str] = field(default_factory=dict[str, str])
    """`PIXELMETER_GATEWAYS`: `host=profile` pairs with commas between, or a JSON object."""
    tags: Mapping[str, str] = field(default_factory=dict[str, str])
    """`PIXELMETER_TAGS`: `key=value` pairs with commas between, or a JSON object; put on every attempt."""
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
    latest_conventions: bool = False
    """`OTEL_SEMCONV_STABILITY_OPT_IN` has `gen_ai_latest_experimental`: metrics take their newer names."""


def from_environment(environment: Mapping[str, str] | None = None) -> Settings:
    """Read the settings; ConfigError names the variable that cannot be used."""
    env = os.environ if environment is None else environment
    durability = env.get("PIXELMETER_DURABILITY") or "process"
    if durability not in DURABILITIES:
        raise ConfigError(f"PIXELMETER_DURABILITY is {durability!r}: use one of {', '.join(DURABILITIES)}")
    return Settings(
        database_url=env.get("PIXELMETER_DATABASE_URL") or "sqlite:///pixelmeter.db",
        spool_dir=env.get("PIXELMETER_SPOOL_DIR") or None,
        state_dir=env.get("XDG_STATE_HOME") or str(Path(env.get("HOME") or "~").expanduser() / ".local" / "state"),
        prices=env.get("PIXELMETER_PRICES") or None,
        profiles=env.get("PIXELMETER_PROFILES") or None,
        gateways=_pairs(env, "PIXELMETER_GATEWAYS"),
        tags=_pairs(env, "PIXELMETER_TAGS"),
        fee_rate=_fee_rate(env),
        durability="sync" if durability == "sync" else "process",
        write_interval=_write_interval(env),
        sinks=_sinks(env),
        cost_attributes=_cost_attributes(env),
        latest_conventions="gen_ai_latest_experimental" in _words(env, "OTEL_SEMCONV_STABILITY_OPT_IN"),
    )


def _pairs(env: Mapping[str, str], name: str) -> dict[str, str]:
    text = env.get(name, "").strip()
    if text.startswith("{"):
        try:
            return msgspec.json.decode(text, type=dict[str, str])
        except msgspec.MsgspecError as error:
            raise ConfigError(f"{name} is no JSON object of strings: {error}") from None
    pairs: dict[str, str] = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        key, separator, value = item.partition("=")
        if not separator or not key.strip() or not value.strip():
            raise ConfigError(f"{name} has {item!r}: write NAME=VALUE pairs with commas between, or a JSON object")
        pairs[key.strip()] = value.strip()
    return pairs


def _sinks(env: Mapping[str, str]) -> tuple[str, ...]:
    names = _words(env, "PIXELMETER_SINKS")
    for name in names:
        if name not in SINKS:
            raise ConfigError(f"PIXELMETER_SINKS has {name[:40]!r}: use {', '.join(SINKS)}, with a comma between")
    return names


def _cost_attributes(env: Mapping[str, str]) -> CostAttributes | None:
    text = env.get("PIXELMETER_COST_ATTRIBUTES", "").strip()
    if not text:
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


def _fee_rate(env: Mapping[str, str]) -> int | None:
    text = env.get("PIXELMETER_FEE_PERCENT", "").strip()
    if not text:
        return None
    rate = scaled(text, 10_000)
    if rate is None or rate > 1_000_000:
        raise ConfigError(f"PIXELMETER_FEE_PERCENT is {text[:40]!r}: use a percentage from 0 to 100, such as 5")
    return rate
