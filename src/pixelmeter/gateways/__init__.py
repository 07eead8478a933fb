"""The bundled gateway profiles (TOML), and how profile files are found and read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache, partial
from pathlib import Path

import msgspec

from pixelmeter.core.apis.reader import reader_of
from pixelmeter.core.gateways.profile import Match, Profile, ProfileError, decode, read_profile
from pixelmeter.core.gateways.profiles import Listed, Profiles, listed
from pixelmeter.core.gateways.routes import problems_of
from pixelmeter.core.toml import TomlError, line_at, parse
from pixelmeter.core.wire.headers import ascii_host
from pixelmeter.data_files import UnreadableFile, read_text
from pixelmeter.errors import ConfigError

__all__ = ["check", "load_profiles"]

_MATCH = re.compile(r"^\[match\]\n((?:(?!\[).*\n)*)", re.MULTILINE)
_GENERIC = re.compile(r"^generic = true$", re.MULTILINE)
_WEBHOOK = re.compile(r"^\[\[?webhook[].]", re.MULTILINE)
_API = re.compile(r'^api = "([a-z_0-9]+)"$', re.MULTILINE)
_AT = re.compile(r"at `(\$[^`]*)`")
_UNKNOWN = re.compile(r"unknown field `([^`]*)`")
_IPV6 = re.compile(r"^\[(?=[0-9a-fA-F.]*:[0-9a-fA-F:.]*\])")


def load_profiles(hosts: Mapping[str, str], path: str | None = None) -> Profiles:
    """Return the bundled profiles, under those of the user's file or folder, under the user's host patterns.

    Raises ConfigError where a file cannot be read, or a host is given to a profile that is not there.
    """
    profiles = {each.id: each for each in _bundled()}
    if path is not None:
        profiles |= {profile.id: listed(profile) for profile in map(_read, _files(Path(path)))}
    for host, name in hosts.items():
        if name not in profiles:
            raise ConfigError(
                f"host {host[:80]!r} is given to gateway profile {name[:80]!r}: known are {', '.join(profiles)}"
            )
    return Profiles(tuple(profiles.values()), {_pattern(host): name for host, name in hosts.items()})


def _pattern(host: str) -> str:
    """Return the pattern of hosts that a user means; ConfigError for what can be none."""
    shown = repr(host[:80])
    if "/" in host:
        raise ConfigError(f"{shown} is no host: write it without https:// and path, such as images.corp.example")
    try:
        # The port of the scheme itself is never in a host.
        plain = ascii_host(host.strip().removesuffix(":443").removesuffix(":80"))
    except ValueError as error:
        raise ConfigError(f"{shown} is no host: {error}") from None
    # The brackets of an IPv6 address are no character class.
    return _IPV6.sub("[[]", plain)


@cache
def _bundled() -> tuple[Listed, ...]:
    """Return the profiles that come with pixelmeter, of which only their hosts are read: most programs need one."""
    found: list[Listed] = []
    for file in _files(Path(__file__).parent):
        text = file.read_text(encoding="utf-8")
        section = _MATCH.search(text)
        match = msgspec.convert(parse(section[1]) if section else {}, Match, dec_hook=decode)
        for api in _API.findall(text):
            # Now, and not in the middle of a call, while which a fork would leave the module locked in the child.
            reader_of(api)
        is_generic, has_webhook = _GENERIC.search(text) is not None, _WEBHOOK.search(text) is not None
        found.append(Listed(file.stem, match, is_generic, cache(partial(_parsed, text)), has_webhook))
    return tuple(found)


def _files(path: Path) -> list[Path]:
    try:
        return sorted(file for file in path.iterdir() if file.suffix == ".toml") if path.is_dir() else [path]
    except OSError as error:
        raise ConfigError(f"gateway profiles in {path} cannot be read: {error.strerror}") from None


def check(path: str) -> list[tuple[int, str]]:
    """Return what is wrong with a profile's file: its lines, from 1, and why. ConfigError if it is unreadable."""
    return _checked(Path(path))[1]


class _Wrong(Exception):
    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


def _read(file: Path) -> Profile:
    profile, problems = _checked(file)
    if profile is None or problems:
        line, message = problems[0]
        raise ConfigError(f"gateway profile {file}:{line}: {message}")
    return profile


def _checked(file: Path) -> tuple[Profile | None, list[tuple[int, str]]]:
    """Return the profile of a file, as far as there is one, and what is wrong with it, by lines."""
    try:
        text = read_text(file)
    except UnreadableFile as error:
        raise ConfigError(f"gateway profile {file} cannot be read: {error}") from None
    try:
        profile = _parsed(text)
    except _Wrong as error:
        return None, [(error.line, str(error))]
    return profile, [(line_at(text, where), message) for where, message in problems_of(profile)]


def _parsed(text: str) -> Profile:
    try:
        return _with_patterns(read_profile(parse(text)))
    except TomlError as error:
        raise _Wrong(error.line, str(error)) from None
    except (ConfigError, ProfileError) as error:
        raise _Wrong(line_at(text, _where(str(error))), str(error)) from None
    except (RecursionError, ValueError):
        # A message cannot show a value that is too deep, or has too many digits.
        raise _Wrong(1, "a value is not what its key takes") from None


def _where(message: str) -> str:
    """Return the path of what a message is about: a table, and the key of it that is none."""
    at, key = _AT.search(message), _UNKNOWN.search(message)
    return (at[1] if at else "$") + (f".{key[1]}" if key else "")


def _with_patterns(profile: Profile) -> Profile:
    """Return a profile with its hosts as HTTP libraries write them."""

    def patterns(hosts: Iterable[str], where: str) -> tuple[str, ...]:
        try:
            return tuple(_pattern(host) for host in hosts)
        except ConfigError as error:
            raise ConfigError(f"{error} - at `{where}`") from None

    return msgspec.structs.replace(
        profile,
        match=msgspec.structs.replace(profile.match, hosts=patterns(profile.match.hosts, "$.match.hosts")),
        region=tuple(
            msgspec.structs.replace(region, hosts=patterns(region.hosts, f"$.region[{at}].hosts"))
            for at, region in enumerate(profile.region)
        ),
    )
