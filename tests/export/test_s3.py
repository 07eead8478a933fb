"""An export to a bucket of a server that speaks S3."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from pixelmeter.core.reporting.listing import listed
from tests.export.ledgers import export, filled, in_order, run
from tests.factories import make_attempt
from tests.ledger.test_adjusted_queries import write

pytestmark = pytest.mark.slow


def tell(server: str, what: str, data: bytes = b"") -> None:
    """Steer the store."""
    headers = {"Content-Type": "text/plain"}
    urllib.request.urlopen(
        urllib.request.Request(f"{server}/moto-api/{what}", data=data, headers=headers, method="POST")
    ).close()


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of a store that keeps objects in memory."""
    running = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
def store(server: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A client of that store, with an empty bucket of the name `lake`."""
    tell(server, "reset")
    for name, value in (
        ("AWS_ENDPOINT_URL", server),
        ("AWS_ACCESS_KEY_ID", "key"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
    ):
        monkeypatch.setenv(name, value)
    client = boto3.client("s3")
    client.create_bucket(Bucket="lake")
    return client


def names(store: Any) -> list[str]:
    return [found["Key"] for found in store.list_objects_v2(Bucket="lake").get("Contents", ())]


def found_in(store: Any) -> list[object]:
    parts = [name for name in names(store) if name.startswith("a/month=")]
    texts = [store.get_object(Bucket="lake", Key=name)["Body"].read().decode() for name in parts]
    return [json.loads(line) for text in texts for line in text.split("\n")[:-1]]


def test_a_bucket_gets_a_file_for_each_day(ledger_url: str, store: Any) -> None:
    now = in_order(filled(ledger_url).values())

    told = export(ledger_url, "--format", "jsonl", "s3://lake/a/").stderr

    assert [listed(one) for one in now] == found_in(store)
    assert "300 attempts to s3://lake/a/, 8 files" in told


def test_exporting_again_replaces_and_resume_skips(sqlite_url: str, store: Any) -> None:
    now = in_order(filled(sqlite_url).values())
    export(sqlite_url, "--format", "jsonl", "--rows-per-file", "9", "s3://lake/a/")
    assert len(names(store)) > 30

    export(sqlite_url, "--format", "jsonl", "s3://lake/a/")
    assert [listed(one) for one in now] == found_in(store)

    assert "8 days" in export(sqlite_url, "--format", "jsonl", "--resume", "s3://lake/a/").stderr


def test_a_large_part_goes_in_pieces_and_comes_back_whole(
    sqlite_url: str, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The smallest pieces that S3 takes.
    monkeypatch.setattr("pixelmeter.export.s3._PIECE", 5 * 1024 * 1024)
    written = [make_attempt(tags=json.dumps({"note": "x" * 10_000})) for _ in range(600)]
    write(sqlite_url, written, {})

    export(sqlite_url, "--format", "jsonl", "s3://lake/a/")

    [part] = [name for name in names(store) if name.startswith("a/month=")]
    assert store.head_object(Bucket="lake", Key=part)["ETag"].endswith('-2"')
    assert [listed(one) for one in in_order(written)] == found_in(store)
    assert "Uploads" not in store.list_multipart_uploads(Bucket="lake")


@pytest.mark.usefixtures("store")
def test_a_bucket_that_is_not_there_is_told(sqlite_url: str) -> None:
    filled(sqlite_url)
    result = run(sqlite_url, "--format", "jsonl", "s3://nowhere/a/")
    assert 1 == result.exit_code
    assert "NoSuchBucket" in result.output
    assert "make the bucket, or give another one" in result.output


@pytest.mark.usefixtures("store")
def test_a_key_that_is_not_known_is_told(sqlite_url: str, server: str) -> None:
    filled(sqlite_url)
    # From the next request on the store looks at keys.
    tell(server, "reset-auth", b"0")
    try:
        result = run(sqlite_url, "--format", "jsonl", "s3://lake/a/")
    finally:
        tell(server, "reset-auth", b"inf")
    assert 1 == result.exit_code
    assert "InvalidAccessKeyId" in result.output
    assert "set AWS_ACCESS_KEY_ID or AWS_PROFILE to a key that exists" in result.output


@pytest.mark.usefixtures("store")
def test_no_credentials_and_no_store_are_told(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(sqlite_url)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    result = run(sqlite_url, "--format", "jsonl", "s3://lake/a/")
    assert 1 == result.exit_code
    assert "is AWS_ENDPOINT_URL right, and the store up?" in result.output

    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    result = run(sqlite_url, "--format", "jsonl", "s3://lake/a/")
    assert 1 == result.exit_code
    assert "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE" in result.output
