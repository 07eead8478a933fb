from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from pixelmeter.errors import ConfigError
from pixelmeter.ledger.address import absolute_url, read_address, safe_url, spool_folder
from pixelmeter.ledger.attempts import attempts
from pixelmeter.ledger.reader import reading_ledger
from pixelmeter.ledger.writer import open_writer
from tests.factories import make_attempt

SECRET = "hunter2"


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_every_usual_scheme_of_postgres_is_read_the_same(scheme: str) -> None:
    address = read_address(f"{scheme}://me:{SECRET}@db.example:6432/spend?sslmode=require")

    assert ("postgresql", "me", SECRET, "db.example", 6432, "spend") == (
        address.dialect,
        address.user,
        address.password,
        address.host,
        address.port,
        address.database,
    )
    assert [("sslmode", "require")] == list(address.options)


def test_a_password_is_percent_decoded() -> None:
    assert "p@ss:/w" == read_address("postgresql://me:p%40ss%3A%2Fw@db/spend").password


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://me:{SECRET}@db:5432/spend",
        f"postgresql://me:{SECRET}/x@db/spend",
        f"postgresql://me:@{SECRET}@db/spend",
        f"postgresql://db/spend?password={SECRET}&sslmode=require",
        f"postgresql://db/spend?sslpassword={SECRET}",
        f"mysql://me:{SECRET}@db/spend",
        SECRET,
    ],
)
def test_no_secret_of_a_url_is_ever_shown(url: str) -> None:
    shown = [safe_url(url)]
    try:
        shown.append(repr(read_address(url)))
    except ConfigError as error:
        shown.append(str(error))

    assert SECRET not in " ".join(shown)


def test_a_safe_url_still_says_which_database_it_is() -> None:
    actual = safe_url("postgres://me:x@[::1]:5433/spend?sslmode=require&options=-csearch_path%3Da")

    assert "postgresql://me@[::1]:5433/spend?sslmode=require&options=***" == actual


@pytest.mark.parametrize(
    ("url", "advice"),
    [
        ("", "use sqlite:///pixelmeter.db"),
        ("mysql://db/spend", "postgresql://user:password@host/database"),
        ("postgresql+asyncpg://db/spend", "postgresql://user:password@host/database"),
        ("postgresql://me:p@ss@db/spend", "percent-encoded"),
        ("postgresql://db:http/spend", "cannot be read"),
        ("sqlite://", "give SQLite a file"),
        ("sqlite:///:memory:", "give SQLite a file"),
        ("sqlite:///file:x?mode=memory", "cannot have"),
        ("sqlite://pixelmeter.db", "three slashes"),
        ("sqlite:///a.db?mode=ro", "cannot have"),
        ("sqlite:///a%00b.db", "NUL"),
        ("postgresql://db:0/spend", "port 0: use one from 1 to 65535"),
        ("postgresql://db:65536/spend", "port 65536"),
        ("postgresql://db:" + "1" * 5000 + "/spend", "cannot be read"),
        ("postgresql://db:٣/spend", "cannot be read"),
        ("postgresql://me:123/x@db/spend", "percent-encoded"),
        ("postgresql://db/spend?port=http", "option port that is no number"),
        ("postgresql://db/spend?port=" + "٣", "option port that is no number"),
        ("postgresql://m\udcff@db/spend", "not UTF-8 text"),
    ],
)
def test_a_url_that_cannot_be_used_is_answered_with_what_to_write(url: str, advice: str) -> None:
    with pytest.raises(ConfigError, match=advice):
        read_address(url)


@pytest.mark.parametrize("option", ["user=x@y", "options=-c%20a=b@c", "passfile=/home/me@corp/pass"])
def test_an_at_sign_in_an_option_is_the_options(option: str) -> None:
    address = read_address(f"postgresql://db.example:5433/spend?{option}")

    assert (None, None, "db.example", 5433, "spend") == (
        address.user,
        address.password,
        address.host,
        address.port,
        address.database,
    )
    assert [tuple(option.replace("%20", " ").split("=", 1))] == list(address.options)


def test_spaces_around_a_url_are_dropped(tmp_path: Path) -> None:
    assert f"{tmp_path}/a b.db" == read_address(f" sqlite:///{tmp_path}/a b.db\n").path
    assert "spend" == read_address(" postgresql://db/spend ").database


@pytest.mark.parametrize("name", ["plain.db", "a%b.db", "a?b.db", "a#b.db", "a b.db", "ü.db", "\udcff.db"])
def test_the_url_of_a_path_leads_to_that_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    url = absolute_url(f"sqlite:///{name.replace('%', '%25').replace('?', '%3F')}")

    assert f"{tmp_path}/{name}" == read_address(url).path == read_address(safe_url(url)).path
    with closing(open_writer(url)) as writer:
        writer.write([make_attempt()], {}, [])
    with reading_ledger(url) as reader:
        assert 1 == len(attempts(reader, limit=9))


def test_an_address_comes_back_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = read_address("sqlite:///plain.db")
    monkeypatch.chdir(tmp_path)
    assert address is read_address(address)


def test_a_sqlite_path_is_absolute_and_free_of_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link.db").symlink_to(tmp_path / "real.db")

    assert f"{tmp_path}/plain.db" == read_address("sqlite:///plain.db").path
    assert f"{tmp_path}/real.db" == read_address(f"sqlite:///{tmp_path}/link.db").path


def test_the_spools_of_a_sqlite_ledger_lie_beside_it(tmp_path: Path) -> None:
    assert f"{tmp_path}/a.db.spool" == spool_folder(f"sqlite:///{tmp_path}/a.db", None, "/state")


def test_the_spools_of_a_server_keep_their_folder_when_the_password_changes() -> None:
    before = spool_folder("postgresql://me:old@db.example/spend", None, "/state")
    after = spool_folder("postgres://me:new@db.example/spend", None, "/state")
    other = spool_folder("postgres://me:new@db.example:5433/spend", None, "/state")

    assert before == after
    assert before.startswith("/state/pixelmeter/db.example-spend-")
    assert before != other


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://db.example/spend",
        "postgresql://other@DB.example:5432/spend",
        "postgresql://me:secret@db.example/spend?sslmode=require&connect_timeout=3",
        "postgresql://me@/spend?host=db.example",
    ],
)
def test_one_database_has_one_folder_of_spools_however_its_url_is_written(url: str) -> None:
    expected = spool_folder("postgresql+psycopg://me@db.example/spend", None, "/state")
    assert expected == spool_folder(url, None, "/state")


def test_a_url_without_a_database_means_the_one_that_is_named_like_its_user() -> None:
    assert spool_folder("postgresql://spend@db", None, "/s") != spool_folder("postgresql://other@db", None, "/s")


def test_a_spool_folder_that_is_given_has_a_folder_for_each_ledger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    urls = ["postgresql://db/spend", "postgresql://db/other", "sqlite:///a.db", "sqlite:///b.db", "sqlite:////tmp/a.db"]
    folders = [spool_folder(url, "mine", "/state") for url in urls]

    assert len(urls) == len(set(folders))
    assert all(folder.startswith(f"{tmp_path}/mine/") for folder in folders)
    assert folders[0] == spool_folder("postgresql://db/spend", f"{tmp_path}/mine", "/elsewhere")
