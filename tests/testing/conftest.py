"""One gateway process for all tests of a worker, as new for each."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from pixelmeter.testing import Gateway

Post = Callable[..., httpx.Response]


@pytest.fixture
def post(gateway: Gateway) -> Iterator[Post]:
    """Post an image request with httpx: `post(model=…)`, told how to be answered by `behaviour`."""
    # Reading the certificates takes longer than the whole test.
    with httpx.Client(base_url=gateway.root, verify=False) as client:

        def send(
            path: str = "/v1/images/generations",
            behaviour: Any = None,
            headers: dict[str, str] | None = None,
            **body: Any,
        ) -> httpx.Response:
            asked = {} if behaviour is None else {"x-test-behaviour": json.dumps(behaviour)}
            return client.post(path, json={"prompt": "a fox"} | body, headers=asked | (headers or {}))

        yield send
