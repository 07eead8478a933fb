"""The bundled gateway profiles (TOML), and how profile files are found and read."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

from pixelmeter.core.gateways import Profile, ProfileError, Profiles, read_profile
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
            raise ConfigError(f"host {host!r} is given to gateway profile {name!r}: known are {', '.join(profiles)}")
        if "/" in host:
            raise ConfigError(f"{host!r} is no host: write it without https:// and path, such as images.corp.example")
    return Profiles(tuple(profiles.values()), {_pattern(host): name for host, name in hosts.items()})


def _pattern(host: str) -> str:
    # The brackets of an IPv6 address are no character class, and the port of the scheme itself is never in a host.
    return _IPV6.sub("[[]", host.removesuffix(":443").removesuffix(":80"))


def _read_all(path: Path) -> list[Profile]:
    if not path.exists():
        raise ConfigError(f"there is no gateway profile at {path}")
    files = sorted(path.glob("*.toml")) if path.is_dir() else [path]
    return [_read(file) for file in files]


def _read(file: Path) -> Profile:
    try:
        return read_profile(tomllib.loads(file.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, ProfileError) as error:
        raise ConfigError(f"gateway profile {file}: {error}") from error
