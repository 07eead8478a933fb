"""Jobs, usage, models and the balance."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx
import pytest
from aigateway import verify_webhook

from pixelmeter.testing import Gateway
from tests.testing.conftest import Post

FLEX = "black-forest-labs/flux-2-flex"


def poll(gateway: Gateway, job: str) -> httpx.Response:
    return httpx.get(f"{gateway.url}/jobs/{job}")


def test_a_job_is_charged_by_the_poll_that_finds_it_completed(post: Post, gateway: Gateway) -> None:
    answer = post(model=FLEX, n=2, size="64x32")
    assert (202, {"id": "job_01", "status": "queued", "object": "job"}) == (answer.status_code, answer.json())
    assert 0 == gateway.billed_nano()
    assert "running" == poll(gateway, "job_01").json()["status"]
    assert 0 == gateway.billed_nano()
    done = poll(gateway, "job_01").json()
    assert ("completed", FLEX, done["result_url"]) == (done["status"], done["model"], done["result"]["file_url"])
    assert (64).to_bytes(4) + (32).to_bytes(4) == httpx.get(done["result_url"]).content[16:24]
    poll(gateway, "job_01")
    assert [("pending", 0), ("success", 120_000_000)] == [
        (line["outcome"], line["charged_nano"]) for line in gateway.billing()
    ]


@pytest.mark.parametrize(
    ("behaviour", "statuses", "error"),
    [
        ({"job_polls": 1}, ["completed"], None),
        ({"job_polls": 3, "job_word": "processing"}, ["processing", "processing", "completed"], None),
        ({"job_polls": 3, "job_not_modified": True}, ["running", 304, "completed"], None),
        ({"job_polls": 1, "job_end": "failed"}, ["failed"], "the provider could not make the image"),
        (
            {"job_polls": 1, "job_end": "failed_object"},
            ["failed"],
            {"code": "provider_error", "message": "the provider could not make the image"},
        ),
    ],
)
def test_a_job_goes_as_told(
    post: Post, gateway: Gateway, behaviour: dict[str, Any], statuses: list[Any], error: object
) -> None:
    job = post(model="meta/sam-3-1-image", behaviour=behaviour | {"job": True}).json()["id"]
    answers = [poll(gateway, job) for _ in statuses]
    assert statuses == [304 if answer.status_code == 304 else answer.json()["status"] for answer in answers]
    assert error == answers[-1].json().get("error")
    assert (0 if error else 10_000_000) == gateway.billed_nano()


def test_the_completing_poll_can_say_the_cost(post: Post, gateway: Gateway) -> None:
    post(model=FLEX, behaviour={"job_polls": 1, "job_cost_header": True})
    assert "6" == poll(gateway, "job_01").headers["x-cost-cents"]


def test_a_cancelled_job_is_not_charged(post: Post, gateway: Gateway) -> None:
    post(model=FLEX)
    assert "cancelled" == httpx.delete(f"{gateway.url}/jobs/job_01").json()["status"]
    assert ["cancelled"] * 3 == [poll(gateway, "job_01").json()["status"] for _ in range(3)]
    assert 0 == gateway.billed_nano()
    assert 404 == poll(gateway, "job_99").status_code


@pytest.mark.parametrize("signature", ["aig", "gateway"])
def test_a_completed_job_is_posted_to_the_caller(post: Post, gateway: Gateway, signature: str) -> None:
    post(model=FLEX)

    async def receive() -> tuple[dict[str, str], str]:
        got: asyncio.Future[tuple[dict[str, str], str]] = asyncio.get_running_loop().create_future()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            headers = dict(line.split(": ", 1) for line in head.strip().split("\r\n")[1:])
            got.set_result((headers, (await reader.readexactly(int(headers["content-length"]))).decode()))
            writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
        status = await asyncio.to_thread(gateway.post_webhook, url, "job_01", secret="whsec", signature=signature)
        assert 204 == status
        server.close()
        return await got

    headers, body = asyncio.run(receive())
    assert '"usage":{"cost_cents":6}' in body
    signed = headers.get("x-gateway-signature") or f"t={headers['aig-timestamp']},v1={headers['aig-signature']}"
    assert verify_webhook("whsec", body, signed)
    assert ("x-gateway-signature" in headers) is (signature == "gateway")


def test_usage_by_request_is_newest_first(post: Post, gateway: Gateway) -> None:
    post(model="meta/sam-3-1-image", headers={"x-request-id": "a", "x-aig-tag": "hero"})
    post(model="bria/fibo-edit/edit", headers={"x-request-id": "b"})
    rows = httpx.get(f"{gateway.url}/usage/recent?limit=100").json()["data"]
    assert [("b", 4.2, None), ("a", 1, "hero")] == [
        (row["request_id"], row["cost_cents"], row.get("tag")) for row in rows
    ]
    assert 1 == len(httpx.get(f"{gateway.url}/usage/recent?limit=1").json()["data"])
    gateway.tell(status=404, match={"path": "/v1/usage/recent"})
    assert 404 == httpx.get(f"{gateway.url}/usage/recent").status_code


def test_usage_by_tag_has_two_shapes(post: Post, gateway: Gateway) -> None:
    for tag in ("hero", "hero", "banner"):
        post(model="meta/sam-3-1-image", headers={"x-aig-tag": tag})
    month = time.strftime("%Y-%m", time.gmtime())
    address = f"{gateway.url}/usage/by-tag?month={month}"
    rows = [{"tag": "banner", "requests": 1, "cost_cents": 1}, {"tag": "hero", "requests": 2, "cost_cents": 2}]
    assert rows == httpx.get(address).json()
    assert [] == httpx.get(f"{gateway.url}/usage/by-tag?month=2001-01").json()
    gateway.tell(by_tag_shape="data", match={"path": "/v1/usage/by-tag"})
    labels = [{"label": row.pop("tag"), **row} for row in rows]
    assert {"data": labels} == httpx.get(address).json()


def test_models_are_listed_with_their_prices(gateway: Gateway) -> None:
    prices = {model["id"]: model["pricing"] for model in httpx.get(f"{gateway.url}/models").json()["data"]}
    assert {"unit": "image", "usd": "0.01"} == prices["meta/sam-3-1-image"]
    assert {"input_text": "5", "input_image": "8", "output_image": "30"} == prices["gpt-image-2"]["usd"]


def test_the_balance_falls_by_what_is_charged(post: Post, gateway: Gateway) -> None:
    post(model="bria/fibo-edit/edit")
    assert '"balance_cents":99995.8' in httpx.get(f"{gateway.url}/balance").text


def test_other_paths_are_not_found(gateway: Gateway) -> None:
    assert "not_found" == httpx.get(f"{gateway.url}/nothing").json()["error"]["type"]
    assert 404 == httpx.get(f"{gateway.url}/files/0x5/a.png").status_code
