"""The bundled gateway profiles (TOML), and how profile files are found and read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from pixelmeter.core.gateways.profile import Profile, ProfileError, read_profile
from pixelmeter.core.gateways.profiles import Profiles
from pixelmeter.core.toml import TomlError, parse
from pixelmeter.core.wire.headers import ascii_host
from pixelmeter.data_files import UnreadableFile, read_text
from pixelmeter.errors import ConfigError

__all__ = ["load_profiles"]

_IPV6 = re.compile(r"^\[(?=[0-9a-fA-F.]*:[0-9a-fA-F:.]*\])")


def load_profiles(hosts: Mapping[str, str], path: str | None = None) -> Profiles:
    """Return the bundled profiles, under those of the user's file or folder, under the user's host patterns.

    Raises ConfigError where a file cannot be read, or a host is given to a profile that is not there.
    """
    profiles = {profile.id: profile for profile in _read_all(Path(__file__).parent)}
    if path is not None:
        profiles |= {profile.id: profile for profile in _read_all(Path(path))}
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


def _read_all(path: Path) -> list[Profile]:
    try:
        files = sorted(file for file in path.iterdir() if file.suffix == ".toml") if path.is_dir() else [path]
    except OSError as error:
        raise ConfigError(f"gateway profiles in {path} cannot be read: {error.strerror}") from None
    return [_read(file) for file in files]


def _read(file: Path) -> Profile:
    try:
        return _with_patterns(read_profile(parse(read_text(file))))
    except UnreadableFile as error:
        raise ConfigError(f"gateway profile {file} cannot be read: {error}") from None
    except TomlError as error:
        raise ConfigError(f"gateway profile {file}:{error.line}: {error}") from None
    except (ConfigError, ProfileError) as error:
        raise ConfigError(f"gateway profile {file}: {error}") from error
    except (RecursionError, ValueError):
        # A message cannot show a value that is too deep, or has too many digits.
        raise ConfigError(f"gateway profile {file}: a value is not what its key takes") from None


def _with_patterns(profile: Profile) -> Profile:
    """Return a profile with its hosts as HTTP libraries write them."""

    def patterns(hosts: Iterable[str]) -> tuple[str, ...]:
        return tuple(_pattern(host) for host in hosts)

    return msgspec.structs.replace(
        profile,
        match=msgspec.structs.replace(profile.match, hosts=patterns(profile.match.hosts)),
        region=tuple(msgspec.structs.replace(region, hosts=patterns(region.hosts)) for region in profile.region),
    )
