"""Folders in S3 and in stores that speak its language, through boto3."""

from __future__ import annotations

import contextlib
import importlib
import os
import tempfile
from collections.abc import Generator, Mapping
from typing import Any

from pixelmeter.errors import ConfigError, ExportError

__all__ = ["Bucket", "bucket"]

_EXTRA = 's3:// needs boto3: pip install "pixelmeter[s3]"'
_SCHEME = "s3://"
_MEGABYTE = 1024 * 1024
_PIECE = 16 * _MEGABYTE
_ADVICE = {
    "NoSuchBucket": "make the bucket, or give another one",
    "AccessDenied": "it needs s3:ListBucket, s3:GetObject, s3:PutObject, s3:DeleteObject and s3:AbortMultipartUpload",
    "AllAccessDisabled": "the account may not use the bucket",
    "InvalidAccessKeyId": "set AWS_ACCESS_KEY_ID or AWS_PROFILE to a key that exists",
    "SignatureDoesNotMatch": "the secret does not fit the key: set AWS_SECRET_ACCESS_KEY",
    "ExpiredToken": "get new credentials, for example with `aws sso login`",
    "PermanentRedirect": "the bucket is in another region: set AWS_REGION",
    "403": "set the credentials of an account that may use the bucket",
}


@contextlib.contextmanager
def bucket(url: str) -> Generator[Bucket]:
    """Give the folder that an s3:// URL names. Credentials, region and endpoint come from where boto3 looks for them.

    ConfigError for a URL that names none; ExportError without boto3.
    """
    name, _, prefix = url.removeprefix(_SCHEME).partition("/")
    if not name or (prefix and not prefix.endswith("/")):
        raise ConfigError(f"{url} is not a folder: write s3://BUCKET/PREFIX/, with / at its end")
    try:
        # Without types.
        boto3: Any = importlib.import_module("boto3")
        transfers: Any = importlib.import_module("boto3.s3.transfer")
    except ImportError:
        raise ExportError(_EXTRA) from None
    with tempfile.TemporaryDirectory(prefix="pixelmeter-") as folder, _told(url):
        # Four pieces at once bound the memory.
        transfer = transfers.TransferConfig(multipart_threshold=_PIECE, multipart_chunksize=_PIECE, max_concurrency=4)
        yield Bucket(boto3.session.Session().client("s3"), name, prefix, folder, transfer)


class Bucket:
    """A prefix of a bucket. What is staged lies in a local folder; an upload appears whole or not at all."""

    def __init__(self, client: Any, name: str, prefix: str, folder: str, transfer: Any) -> None:
        self.place = f"{_SCHEME}{name}/{prefix}"
        self._client = client
        self._bucket = name
        self._prefix = prefix
        self._folder = folder
        self._transfer = transfer

    def staged(self, name: str) -> str:
        return os.path.join(self._folder, name.replace("/", "%"))

    def publish(self, name: str) -> int:
        path = self.staged(name)
        size = os.path.getsize(path)
        # Beyond a threshold it goes in pieces; their end makes the object, a failure drops them.
        self._client.upload_file(path, self._bucket, self._prefix + name, Config=self._transfer)
        os.remove(path)
        return size

    def discard(self) -> None:
        """What is staged goes with its folder."""

    def sizes(self, prefix: str) -> Mapping[str, int]:
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=self._prefix + prefix
        )
        return {
            str(found["Key"])[len(self._prefix) :]: int(found["Size"])
            for page in pages
            for found in page.get("Contents", ())
        }

    def remove(self, name: str) -> None:
        self._client.delete_object(Bucket=self._bucket, Key=self._prefix + name)

    def read(self, name: str) -> bytes | None:
        try:
            found: bytes = self._client.get_object(Bucket=self._bucket, Key=self._prefix + name)["Body"].read()
        except self._client.exceptions.NoSuchKey:
            return None
        return found

    def write(self, name: str, content: bytes) -> None:
        self._client.put_object(Bucket=self._bucket, Key=self._prefix + name, Body=content)


@contextlib.contextmanager
def _told(place: str) -> Generator[None]:
    """Turn what boto3 says into an ExportError that says what to do."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (Boto3Error, BotoCoreError, ClientError) as error:
        # An upload wraps what it failed with.
        cause: Any = error if isinstance(error, ClientError) else error.__context__
        answer: Mapping[str, Any] = getattr(cause, "response", {}).get("Error", {})
        code = str(answer.get("Code", ""))
        advice = _ADVICE.get(code) or _WITHOUT_AN_ANSWER.get(type(error).__name__)
        told = f"{code}: {answer.get('Message', '')}" if code else str(error)
        raise ExportError(f"cannot write {place}: {told.rstrip('. ')}" + (f"; {advice}" if advice else "")) from None


_WITHOUT_AN_ANSWER = {
    "NoCredentialsError": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
    "PartialCredentialsError": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
    "ProfileNotFound": "set AWS_PROFILE to a profile of ~/.aws/config",
    "NoRegionError": "set AWS_REGION",
    "EndpointConnectionError": "is AWS_ENDPOINT_URL right, and the store up?",
    "ConnectTimeoutError": "is AWS_ENDPOINT_URL right, and the store up?",
}
