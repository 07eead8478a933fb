"""The one header that is let in, and the many that are not."""

from __future__ import annotations

import base64
import hmac
import random
from pathlib import Path

import pytest

from pixelmeter.errors import ConfigError
from pixelmeter.serve.guard import Guard, read_guard


def header(scheme: str, sent: bytes) -> str:
    """Return what the server makes of the bytes of a header."""
    return f"{scheme} {sent.decode('latin-1')}"


@pytest.mark.parametrize("secret", ["open-sesame", "sésame", "voilà", "开门"])
def test_a_secret_of_any_letters_is_let_in_as_a_scraper_sends_it(secret: str) -> None:
    bearer, basic = Guard("bearer", secret), Guard("basic", f"user:{secret}")
    pair = base64.b64encode(f"user:{secret}".encode())

    assert bearer.lets_in(header("bearer", secret.encode()))
    assert bearer.lets_in(header("Bearer", b" " + secret.encode()))
    assert basic.lets_in(header("BASIC", pair))
    assert not basic.lets_in(header("Bearer", pair))
    assert not bearer.lets_in(header("Basic", secret.encode()))
    assert not bearer.lets_in(header("Bearer", secret.encode()[:-1]))


@pytest.mark.parametrize("sent", ["", "o", "open-sesam", "open-sesame", "x" * 5000])
def test_the_time_of_a_comparison_tells_neither_how_much_of_a_secret_matches_nor_how_long_it_is(
    monkeypatch: pytest.MonkeyPatch, sent: str
) -> None:
    compared: list[tuple[int, int]] = []

    def in_constant_time(presented: bytes, secret: bytes) -> bool:
        compared.append((len(presented), len(secret)))
        return presented == secret

    monkeypatch.setattr(hmac, "compare_digest", in_constant_time)
    assert (sent == "open-sesame") == Guard("bearer", "open-sesame").lets_in(f"Bearer {sent}")
    assert [(32, 32)] == compared


def test_garbage_is_refused_without_an_error() -> None:
    chance = random.Random(5)
    guards = [Guard("bearer", "open-sesame"), Guard("basic", "user:open-sesame")]
    schemes = ["", "Bearer ", "Basic ", "Basic", "basic =", "Negotiate "]
    for _ in range(2000):
        garbage = chance.choice(schemes) + chance.randbytes(chance.randrange(40)).decode("latin-1")
        assert [False, False] == [guard.lets_in(garbage) for guard in guards], garbage


@pytest.mark.parametrize("text", [b"\xef\xbb\xbfopen-sesame\r\n", b" open-sesame "])
def test_a_file_of_any_editor_is_read(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "token").write_bytes(text)
    guard = read_guard(tmp_path / "token", None)
    assert guard is not None
    assert guard.lets_in("Bearer open-sesame")


def test_a_file_without_an_end_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="/dev/zero must hold one line of at most 10,000 characters"):
        read_guard(Path("/dev/zero"), None)
    with pytest.raises(ConfigError, match="Is a directory"):
        read_guard(tmp_path, None)
