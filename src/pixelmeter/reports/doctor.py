"""What works, what does not, and what to do about it: settings, libraries, ledger, spool, prices and profiles."""

from __future__ import annotations

import datetime
import importlib.util
import os
import platform
import sqlite3
import stat
from collections.abc import Iterator, Sequence
from importlib import metadata

from pixelmeter.auto import is_disabled
from pixelmeter.core.gateways.profile import Profile
from pixelmeter.core.gateways.profiles import Profiles
from pixelmeter.core.text import plural
from pixelmeter.errors import ConfigError, PixelmeterError, PriceBookError
from pixelmeter.ledger.address import Address, in_schema, read_address, spool_folder
from pixelmeter.reports.finding import Finding
from pixelmeter.reports.ledger_check import CHECK_SECONDS, CORRECT_URL, check_ledger
from pixelmeter.settings import Settings, auto_switch, from_environment, misspelt, usage_key_gateways
from pixelmeter.system import SystemClock, SystemFiles, distrusted

__all__ = ["examine"]

_PACKAGES = (
    "pixelmeter",
    "pixelmeter-auto",
    "httpx",
    "httpx2",
    "aiohttp",
    "urllib3",
    "openai",
    "sqlalchemy",
    "psycopg",
)
_OLD_PRICES_DAYS = 90
_SHOWN = 5
# What the exported docker-compose.yml reads beside the variables of Grafana.
_OF_COMPOSE = ("PIXELMETER_LEDGER_PASSWORD", "PIXELMETER_PAGE_TOKEN")


def examine(database_url: str | None, *, seconds: float = CHECK_SECONDS) -> Iterator[Finding]:
    """Yield what is found, of the settings first; the ledger is the one of the settings unless a URL is given.

    Nothing is changed, and what dead processes left stays where it is. Each check that reads all of a ledger is broken
    off after so many `seconds`.
    """
    yield _versions()
    yield from _variables()
    yield from _zero_code()
    try:
        settings = from_environment()
    except ConfigError as error:
        yield Finding("settings", "problem", str(error), "correct the variable and run doctor again")
        return
    yield Finding("settings", "ok", f"durability: {settings.durability}; sinks: {', '.join(settings.sinks) or 'none'}")
    if "otel" in settings.sinks:
        yield from _opentelemetry()
    url = in_schema(database_url or settings.database_url, settings.schema)
    try:
        address = read_address(url)
    except ConfigError as error:
        yield Finding("database", "problem", str(error), CORRECT_URL)
    else:
        yield from _storage(address, settings, seconds)
    yield from _prices(settings)
    yield from _profiles(settings)
    yield from _budgets(settings)


def _storage(address: Address, settings: Settings, seconds: float) -> Iterator[Finding]:
    """Yield what is found of the ledger, and of the spool of attempts that wait for it."""
    if address.dialect == "sqlite":
        yield _sqlite()
    folder = None
    try:
        folder = spool_folder(address, settings.spool_dir, settings.state_dir)
        spool = _spool(folder)
    except ConfigError as error:
        spool = Finding("spool", "problem", str(error), "until then no meter can be made")
    database = list(check_ledger(address, is_spooled=spool.state != "problem", seconds=seconds))
    yield from database
    yield spool
    if folder is None or spool.state == "problem":
        return
    problems = [finding.found for finding in database if finding.state == "problem"]
    from pixelmeter.reports.spool_check import check_limit, check_positions, positions_of

    positions = positions_of(address)
    if os.path.isdir(folder):
        yield from _spool_files(folder, problems)
        yield check_limit(folder, positions or {}, settings.spool_limit)
    if not problems and positions is not None:
        yield from check_positions(address, folder, positions)


def _versions() -> Finding:
    found = [f"Python {platform.python_version()}"]
    for name in _PACKAGES:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return Finding("versions", "ok", ", ".join(found))


def _variables() -> Iterator[Finding]:
    if not misspelt():
        return
    from pixelmeter.monitoring import VARIABLES

    for name, meant in misspelt(besides=[*VARIABLES, *_OF_COMPOSE]).items():
        question = f": did you mean {meant}?" if meant else ""
        told = f"{name} is not a variable of pixelmeter{question}"
        yield Finding("variable", "warning", told, "nothing reads it; docs/settings.md has those that there are")


def _zero_code() -> Iterator[Finding]:
    """Yield what keeps programs from being metered without code, where somebody has set a variable for that."""
    auto = auto_switch()
    if is_disabled():
        found = "PIXELMETER_DISABLED is set: no program is metered without code"
        yield Finding("zero code", "warning", found, "unset it to go on")
    elif auto is not None and auto != "1":
        yield Finding("zero code", "warning", f"PIXELMETER_AUTO is {auto[:40]!r}, which does nothing", "set it to 1")
    elif auto is not None:
        try:
            installed = metadata.version("pixelmeter-auto")
        except metadata.PackageNotFoundError:
            found = "PIXELMETER_AUTO is set, but pixelmeter-auto is not installed in this environment"
            yield Finding("zero code", "warning", found, "run: pip install pixelmeter-auto")
        else:
            yield Finding("zero code", "ok", f"pixelmeter-auto {installed} meters each Python that is started")


def _sqlite() -> Finding:
    version = sqlite3.sqlite_version_info
    sound = version >= (3, 51, 3) or (3, 50, 7) <= version < (3, 51) or (3, 44, 6) <= version < (3, 45)
    return Finding(
        "sqlite",
        "ok",
        f"SQLite {sqlite3.sqlite_version}",
        ""
        if sound
        else "let nothing but pixelmeter write to a SQLite ledger: before 3.51.3, two writers can damage it",
    )


def _spool(folder: str) -> Finding:
    if not os.path.isdir(folder):
        above = folder
        while not os.path.exists(above):
            above = os.path.dirname(above)
        if os.path.isdir(above) and os.access(above, os.W_OK | os.X_OK):
            return Finding("spool", "ok", f"{folder} is not there yet", "the first image call makes it")
        advice = f"make {above} writable, or set PIXELMETER_SPOOL_DIR: until then a kill loses calls"
        return Finding("spool", "problem", f"{folder} cannot be made", advice)
    mode = stat.S_IMODE(os.stat(folder).st_mode)
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        advice = "make it this user's, or set PIXELMETER_SPOOL_DIR: until then a kill loses calls"
        return Finding("spool", "problem", f"{folder} cannot be written", advice)
    reason = distrusted(folder)
    if reason is not None:
        advice = "make it private (chown, chmod 700), or set PIXELMETER_SPOOL_DIR: until then a kill loses calls"
        return Finding("spool", "problem", f"{folder}: {reason}", advice)
    if mode & 0o077:
        return Finding("spool", "warning", f"{folder} has mode {mode:04o}", f"run: chmod 700 {folder}")
    return Finding("spool", "ok", f"{folder} has mode {mode:04o}")


def _spool_files(folder: str, problems: Sequence[str]) -> Iterator[Finding]:
    from pixelmeter.drain.census import census

    found = census(SystemFiles(), folder)
    yield Finding("spool of living processes", "ok", plural(found.living, "file"))
    if found.left:
        advice = "run `pixelmeter report`, which brings them into the ledger, as does the next process that calls"
        if problems:
            is_outdated = any("`pixelmeter db upgrade`" in problem for problem in problems)
            first = "run `pixelmeter db upgrade`" if is_outdated else "do what is said of the database"
            advice = f"{first} first, then {advice}"
        told = f"{plural(found.left, 'file')}, at most {plural(found.waiting, 'attempt')} in them"
        yield Finding("spool of dead processes", "warning", told, advice)
    for reason, number in found.refused.items():
        advice = (
            "they are kept in the spool folder; make the ledger take them, then run `pixelmeter db retry`; where a "
            "character is at fault, that is a database with the encoding UTF8"
        )
        if "pruned" in reason:
            advice = 'they are kept, and are in no sum: docs/retention.md, "Old spools", says what can be done'
        yield Finding(
            "refused attempts", "problem", f"{plural(number, 'attempt')}, which the ledger refuses: {reason}", advice
        )
    if found.unreadable:
        advice = "they are kept; a newer pixelmeter, their owner or root (`pixelmeter report`) may read them"
        shown = ", ".join(found.unreadable[:_SHOWN])
        more = f" and {len(found.unreadable) - _SHOWN} more" if len(found.unreadable) > _SHOWN else ""
        yield Finding("unreadable spool files", "problem", f"{shown}{more}", advice)


def _prices(settings: Settings) -> Iterator[Finding]:
    from pixelmeter.prices import check, checked_days

    first, last = checked_days()
    today = datetime.datetime.fromtimestamp(SystemClock().now() / 1e6, datetime.UTC).date()
    age = (today - last).days
    found = f"bundled prices, checked from {first} to {last}"
    if age > _OLD_PRICES_DAYS:
        advice = "run: pip install --upgrade pixelmeter; or give your own file with PIXELMETER_PRICES"
        yield Finding("prices", "warning", f"{found}, {age} days ago", advice)
    else:
        yield Finding("prices", "ok", found)
    if settings.prices is None:
        return
    try:
        problems = sorted(check(settings.prices))
    except PriceBookError as error:
        yield Finding("own prices", "problem", str(error), "correct PIXELMETER_PRICES")
        return
    if problems:
        line, message = problems[0]
        advice = f"run `pixelmeter prices check {settings.prices}` for all {len(problems)}"
        yield Finding("own prices", "problem", f"{settings.prices}:{line}: {message}", advice)
    else:
        yield Finding("own prices", "ok", settings.prices)


def _profiles(settings: Settings) -> Iterator[Finding]:
    from pixelmeter.gateways import load_profiles

    try:
        profiles = load_profiles(settings.gateways, settings.profiles)
    except PixelmeterError as error:
        yield Finding("gateways", "problem", str(error), "correct PIXELMETER_GATEWAYS or PIXELMETER_PROFILES")
        return
    bundled = load_profiles({}).ids
    told = [f"{len(bundled)} bundled profiles"]
    if settings.profiles is not None:
        new = [name for name in profiles.ids if name not in bundled]
        told.append(f"{', '.join(new) or 'others of the same names'} from {settings.profiles}")
    told += [f"{host} is {name}" for host, name in settings.gateways.items()]
    yield Finding("gateways", "ok", "; ".join(told))
    yield from _webhooks(settings, profiles)
    yield from _usage_keys(profiles)


def _usage_keys(profiles: Profiles) -> Iterator[Finding]:
    """Yield what is found of the keys for usage reports, and none of them: an unknown name may be one, misplaced."""
    try:
        names = usage_key_gateways()
    except ConfigError as error:
        yield Finding("usage keys", "problem", str(error), "correct the variable; until then nothing can be reconciled")
        return
    if not set(names) <= set(profiles.ids):
        advice = "correct PIXELMETER_USAGE_KEYS; `pixelmeter gateways list` has the names"
        yield Finding("usage keys", "problem", "a key is for no gateway that is known", advice)
    elif names:
        yield Finding("usage keys", "ok", f"keys for {', '.join(names)}")


def _opentelemetry() -> Iterator[Finding]:
    advice = 'run: pip install "pixelmeter[otel]"'
    if importlib.util.find_spec("opentelemetry") is None:
        found = "it is not installed, so PIXELMETER_SINKS=otel lets no meter be made"
        yield Finding("opentelemetry", "problem", found, advice)
    elif importlib.util.find_spec("opentelemetry.sdk") is None:
        yield Finding("opentelemetry", "warning", "there is no SDK, so PIXELMETER_SINKS=otel shows nothing", advice)


def _webhooks(settings: Settings, profiles: Profiles) -> Iterator[Finding]:
    """Yield what is found of the secrets of webhooks, and none of them: an unknown name may be one, misplaced."""
    names = settings.webhook_secrets.keys()
    if not names <= set(profiles.webhook_ids):
        advice = f"correct PIXELMETER_WEBHOOK_SECRETS; those are {', '.join(profiles.webhook_ids)}"
        yield Finding("webhooks", "problem", "a secret is for no gateway profile with webhooks", advice)
    elif names:
        signed = [each.id for each in profiles.with_webhooks if each.id in names and _needs_cryptography(each)]
        if signed and importlib.util.find_spec("cryptography") is None:
            advice = 'run: pip install "pixelmeter[webhooks]"'
            yield Finding("webhooks", "problem", f"{', '.join(signed)}: Ed25519 needs cryptography", advice)
        else:
            yield Finding("webhooks", "ok", f"secrets for {', '.join(names)}")


def _needs_cryptography(profile: Profile) -> bool:
    return profile.webhook is not None and any(each.scheme == "ed25519" for each in profile.webhook.signature)


def _budgets(settings: Settings) -> Iterator[Finding]:
    if settings.budgets is None:
        return
    from pixelmeter.budgets.file import check

    try:
        budgets, problems = check(settings.budgets)
    except ConfigError as error:
        yield Finding("own budgets", "problem", str(error), "correct PIXELMETER_BUDGETS; no meter can be made")
        return
    if problems:
        line, message = problems[0]
        advice = f"run `pixelmeter budgets check {settings.budgets}` for all {len(problems)}; no meter can be made"
        yield Finding("own budgets", "problem", f"{settings.budgets}:{line}: {message}", advice)
    else:
        yield Finding("own budgets", "ok", f"{settings.budgets} has {len(budgets)}")
