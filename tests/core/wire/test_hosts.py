from __future__ import annotations

import pytest

from pixelmeter.core.wire.headers import ascii_host, without_root


@pytest.mark.parametrize(
    ("host", "plain"),
    [
        ("api.example.", "api.example"),
        ("api.example.:8443", "api.example:8443"),
        ("api.example:8443", "api.example:8443"),
        ("api.example.:*", "api.example:*"),
        ("[::1]:8000", "[::1]:8000"),
        ("127.0.0.1:8000", "127.0.0.1:8000"),
        ("localhost", "localhost"),
        (".", "."),
        ("", ""),
    ],
)
def test_the_dot_of_the_root_is_left_out(host: str, plain: str) -> None:
    assert plain == without_root(host)


@pytest.mark.parametrize("text", ["ü" * 70, "ü-" * 3, "b?ücher", "a_ü.example"])
def test_what_no_url_can_have_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):
        ascii_host(text)
