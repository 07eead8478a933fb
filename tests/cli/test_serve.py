from __future__ import annotations

import importlib.util
import socket
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pixelmeter.cli import main


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["serve", *arguments])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--host", "0.0.0.0"), "give --token-file or --basic-auth-file"),
        (("--metrics", "--host", "0.0.0.0"), "give --token-file or --basic-auth-file"),
        (("--metrics", "--host", "::"), "give --token-file or --basic-auth-file"),
        (("--metrics", "--host", "images.example.com"), "give --token-file or --basic-auth-file"),
        (("--metrics", "--token-file", "nowhere"), "nowhere cannot be read: No such file"),
        (("--metrics", "--database-url", "mysql://u:correct-horse@h/d"), "names no database that pixelmeter knows"),
    ],
)
def test_what_cannot_be_served_is_refused_with_what_to_do(arguments: tuple[str, ...], said: str) -> None:
    result = run(*arguments)

    assert result.exit_code in (1, 2)
    assert said in result.output
    assert "correct-horse" not in result.output


@pytest.mark.parametrize(
    ("option", "content"),
    [("token-file", ""), ("token-file", "a b"), ("token-file", "a\nb"), ("token-file", "\udcff"),
     ("basic-auth-file", "nobody"), ("basic-auth-file", ":x"), ("basic-auth-file", "x:")],
)  # fmt: skip
def test_a_file_without_a_usable_secret_is_refused_and_not_quoted(tmp_path: Path, option: str, content: str) -> None:
    file = tmp_path / "secret"
    file.write_bytes(content.encode(errors="surrogateescape"))

    result = run("--metrics", f"--{option}", str(file))

    assert 1 == result.exit_code
    assert str(file) in result.output
    assert 1 == len(result.output.splitlines())


def test_one_kind_of_secret_is_enough(tmp_path: Path) -> None:
    result = run("--metrics", "--token-file", str(tmp_path / "a"), "--basic-auth-file", str(tmp_path / "b"))

    assert (1, True) == (result.exit_code, "not both" in result.output)


def test_a_port_that_is_taken_is_said(sqlite_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = run("--metrics", "--port", str(port), "--database-url", sqlite_url)

    assert 1 == result.exit_code
    assert f"cannot listen on 127.0.0.1 port {port}: " in result.output


def test_a_missing_driver_is_said_before_anything_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)

    result = run("--metrics", "--port", "0", "--database-url", "postgresql://nobody@127.0.0.1:9/none")

    assert 1 == result.exit_code
    assert 'pip install "pixelmeter[postgres]"' in result.output


def test_a_missing_server_is_said_with_the_command_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "uvicorn" else found(name))

    result = run("--metrics")

    assert 1 == result.exit_code
    assert 'pip install "pixelmeter[serve]"' in result.output
