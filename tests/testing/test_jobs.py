"""The life of a job in the dialect of each gateway: submit, polls, result, cancel, failure, and its bill."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from pixelmeter.testing import Gateway
from pixelmeter.testing.billing import charge_units
from tests.testing.conftest import Post

pytestmark = pytest.mark.usefixtures("gateway")

FLEX = "black-forest-labs/flux-2-flex"
SCHNELL = "black-forest-labs/flux-schnell"


@dataclass(frozen=True)
class Dialect:
    """How to submit, and what a job says of itself."""

    name: str
    path: str
    body: dict[str, Any]
    price: int
    statuses: tuple[str, str]
    """While it runs, and when it is done."""
    failed: str
    cancelled: str | None

    def submit(self, post: Post, **behaviour: Any) -> str:
        """Submit a job and return its id."""
        answer = post(self.path, behaviour, {"x-request-id": "req_1"}, **self.body)
        assert answer.is_success, answer.text
        return str(answer.json().get("request_id") or answer.json()["id"])

    def url(self, gateway: Gateway, job: str, what: str = "") -> str:
        """Return where a job is followed: its state, or "cancel"."""
        places = {
            "aigateway": f"/v1/jobs/{job}",
            "fal": f"/fal-ai/flux/requests/{job}",
            "replicate": f"/v1/predictions/{job}",
            "black-forest-labs": f"/v1/get_result?id={job}",
        }
        ending = {"": "/status" if self.name == "fal" else "", "result": ""}.get(what, f"/{what}")
        return gateway.root + places[self.name] + ending

    def status(self, gateway: Gateway, job: str) -> str:
        """Poll once."""
        return str(httpx.get(self.url(gateway, job)).json()["status"])


DIALECTS = [
    Dialect(
        "aigateway",
        "/v1/images/generations",
        {"model": FLEX, "n": 2},
        120_000_000,
        ("running", "completed"),
        "failed",
        "cancelled",
    ),
    Dialect(
        "fal",
        "/fal-ai/flux/dev",
        {"num_images": 2},
        50_000_000,
        ("IN_PROGRESS", "COMPLETED"),
        "COMPLETED",
        "COMPLETED",
    ),
    Dialect(
        "replicate",
        f"/v1/models/{SCHNELL}/predictions",
        {"input": {"prompt": "p", "num_outputs": 2}},
        6_000_000,
        ("processing", "succeeded"),
        "failed",
        "canceled",
    ),
    Dialect("black-forest-labs", "/v1/flux-pro-1.1", {"width": 1024}, 40_000_000, ("Pending", "Ready"), "Error", None),
]


# Black Forest Labs has no cancellation.
CANCELLED = [dialect for dialect in DIALECTS if dialect.cancelled is not None]


@pytest.fixture(params=DIALECTS, ids=[dialect.name for dialect in DIALECTS])
def dialect(request: pytest.FixtureRequest) -> Dialect:
    """Each gateway that has jobs."""
    chosen: Dialect = request.param
    return chosen


def charges(gateway: Gateway) -> list[int]:
    """Return what each line of the bill charges, where it does."""
    return [line["charged_nano"] for line in gateway.billing() if line["charged_nano"]]


def test_a_job_is_charged_once_however_often_it_is_polled(dialect: Dialect, post: Post, gateway: Gateway) -> None:
    job = dialect.submit(post, job_polls=3)
    running, done = dialect.statuses
    assert [running, running, done, done, done] == [dialect.status(gateway, job) for _ in range(5)]
    gateway.end_jobs(job)
    assert [dialect.price] == charges(gateway)
    facts = gateway.jobs()[job]
    images = 1 if dialect.name == "black-forest-labs" else 2
    assert (dialect.name, "completed", images, dialect.price, 5) == tuple(
        facts[name] for name in ("gateway", "state", "images", "charged_nano", "polls")
    )


def test_each_line_of_the_bill_says_which_job_and_submit(dialect: Dialect, post: Post, gateway: Gateway) -> None:
    job = dialect.submit(post, job_polls=1)
    dialect.status(gateway, job)
    lines = gateway.billing()
    # fal has one id for both.
    submit = job if dialect.name == "fal" else "req_1"
    assert {(dialect.name, job, submit)} == {(line["gateway"], line["job"], line["submit"]) for line in lines}
    assert submit == lines[0]["request_id"] == gateway.jobs()[job]["submit"]
    assert "pending" == lines[0]["outcome"]


@pytest.mark.parametrize("end", ["failed", "failed_object", "aborted"])
def test_a_failure_is_charged_where_the_vendor_says_so(
    dialect: Dialect, end: str, post: Post, gateway: Gateway
) -> None:
    job = dialect.submit(post, job_polls=1, job_end=end)
    status = dialect.status(gateway, job)
    expected = {("black-forest-labs", "failed_object"): "Content Moderated", ("replicate", "aborted"): "aborted"}
    assert expected.get((dialect.name, end), dialect.failed) == status
    # Black Forest Labs has charged the submit, and Replicate charges what has begun.
    paid = dialect.name == "black-forest-labs" or (dialect.name == "replicate" and end != "aborted")
    assert ([dialect.price] if paid else []) == charges(gateway)
    assert 0 == gateway.jobs()[job]["images"]


def test_whether_a_failure_is_charged_can_be_told(dialect: Dialect, post: Post, gateway: Gateway) -> None:
    job = dialect.submit(post, job_polls=1, job_end="failed", charged=dialect.name != "replicate")
    dialect.status(gateway, job)
    assert ([] if dialect.name == "replicate" else [dialect.price]) == charges(gateway)


@pytest.mark.parametrize("dialect", CANCELLED, ids=[dialect.name for dialect in CANCELLED])
def test_a_cancelled_job_stays_so(dialect: Dialect, post: Post, gateway: Gateway) -> None:
    job = dialect.submit(post)
    method = "PUT" if dialect.name == "fal" else "POST"
    assert httpx.request(method, dialect.url(gateway, job, "cancel")).is_success
    assert [dialect.cancelled] * 3 == [dialect.status(gateway, job) for _ in range(3)]
    assert ("cancelled", 0) == (gateway.jobs()[job]["state"], gateway.billed_nano())


@pytest.mark.parametrize("dialect", CANCELLED, ids=[dialect.name for dialect in CANCELLED])
def test_a_cancellation_may_come_too_late(dialect: Dialect, post: Post, gateway: Gateway) -> None:
    job = dialect.submit(post, job_cancel="too_late", job_polls=3)
    dialect.status(gateway, job)
    method = "PUT" if dialect.name == "fal" else "POST"
    assert httpx.request(method, dialect.url(gateway, job, "cancel")).is_success
    dialect.status(gateway, job)
    assert dialect.statuses[1] == dialect.status(gateway, job)
    assert [dialect.price] == charges(gateway)


def test_a_prediction_that_had_begun_is_paid_for_when_it_is_cancelled(post: Post, gateway: Gateway) -> None:
    job = DIALECTS[2].submit(post)
    DIALECTS[2].status(gateway, job)
    httpx.post(DIALECTS[2].url(gateway, job, "cancel"))
    assert [6_000_000] == charges(gateway)


def test_a_job_that_never_ends(dialect: Dialect, post: Post, gateway: Gateway) -> None:
    job = dialect.submit(post, job_end="never", job_seconds=0)
    assert [dialect.statuses[0]] * 5 == [dialect.status(gateway, job) for _ in range(5)]
    assert (0, "running") == (gateway.end_jobs(), gateway.jobs()[job]["state"])
    with pytest.raises(ValueError, match="never to end"):
        gateway.post_webhook("http://127.0.0.1:1/", job)


def test_a_job_can_end_by_itself(dialect: Dialect, post: Post, gateway: Gateway) -> None:
    job = dialect.submit(post, job_seconds=0, job_polls=99)
    if dialect.name != "black-forest-labs":
        gateway.wait_attempts(2)
        line = gateway.billing()[-1]
        assert ("job", "", None, "success", job) == tuple(
            line[name] for name in ("operation", "method", "status", "outcome", "job")
        )
    assert dialect.statuses[1] == dialect.status(gateway, job)
    assert [dialect.price] == charges(gateway)


def test_a_test_can_end_jobs(dialect: Dialect, post: Post, gateway: Gateway) -> None:
    first, _ = dialect.submit(post), dialect.submit(post)
    assert (1, 1, 0) == (gateway.end_jobs(first), gateway.end_jobs(), gateway.end_jobs())
    assert 2 * dialect.price == gateway.billed_nano()


def test_a_submit_can_be_answered_with_the_job_of_the_one_before(
    dialect: Dialect, post: Post, gateway: Gateway
) -> None:
    job = dialect.submit(post, job_polls=1)
    assert job == dialect.submit(post, job_again=True)
    dialect.status(gateway, job)
    assert ([job], [dialect.price]) == (list(gateway.jobs()), charges(gateway))
    assert [job] * len(gateway.billing()) == [line["job"] for line in gateway.billing()]


def test_a_webhook_may_come_before_the_answer_to_the_submit(dialect: Dialect, post: Post, gateway: Gateway) -> None:
    told = {"webhook": "http://127.0.0.1:1/", "job_seconds": 0, "hold": "before_headers"}
    with ThreadPoolExecutor() as pool:
        submitted = pool.submit(dialect.submit, post, **told)
        gateway.wait_webhooks(1)
        assert not submitted.done()
        gateway.wait_held(1)
        gateway.release()
    assert [submitted.result()] == list(gateway.jobs())


def test_a_failed_submit_that_is_charged_costs_as_much_as_a_job(dialect: Dialect, post: Post, gateway: Gateway) -> None:
    assert 500 == post(dialect.path, {"status": 500, "charged": True}, **dialect.body).status_code
    assert ([dialect.price], {}) == (charges(gateway), gateway.jobs())


def test_a_poll_can_fail_and_tells_nothing_then(dialect: Dialect, post: Post, gateway: Gateway) -> None:
    job = dialect.submit(post, job_polls=1)
    gateway.tell(status=503, times=1, match={"path": "*", "method": "GET"})
    assert 503 == httpx.get(dialect.url(gateway, job)).status_code
    assert "queued" == gateway.jobs()[job]["state"]
    assert dialect.statuses[1] == dialect.status(gateway, job)


def test_a_job_that_nobody_submitted_is_not_found(dialect: Dialect, gateway: Gateway) -> None:
    answer = httpx.get(dialect.url(gateway, "nobody"))
    assert 404 == answer.status_code
    assert not any(name.startswith("x-aig-") for name in answer.headers) or dialect.name == "aigateway"


def test_the_queue_of_fal_leads_to_its_result(post: Post, gateway: Gateway) -> None:
    answer = post("/fal-ai/flux/dev", {"job_polls": 2}, num_images=2, image_size={"width": 2048, "height": 1024})
    queued = answer.json()
    job = queued["request_id"]
    assert ("IN_QUEUE", 0, job) == (queued["status"], queued["queue_position"], answer.headers["x-fal-request-id"])
    assert f"{gateway.root}/fal-ai/flux/requests/{job}" == queued["response_url"]
    assert (400, "Request is still in progress") == (
        (early := httpx.get(queued["response_url"])).status_code,
        early.json()["detail"],
    )
    assert "x-fal-billable-units" not in early.headers
    assert [202, 200] == [httpx.get(queued["status_url"]).status_code for _ in range(2)]
    result = httpx.get(queued["response_url"])
    assert ("4", 2, 2048) == (
        result.headers["x-fal-billable-units"],
        len(result.json()["images"]),
        result.json()["images"][0]["width"],
    )
    assert "image/png" == httpx.get(result.json()["images"][0]["url"]).headers["content-type"]
    assert (400, "ALREADY_COMPLETED") == (
        (late := httpx.put(queued["cancel_url"])).status_code,
        late.json()["status"],
    )
    assert 100_000_000 == gateway.billed_nano()


def test_fal_says_at_a_cancellation_whether_it_had_begun(post: Post) -> None:
    first, second = (post("/fal-ai/flux/dev").json() for _ in range(2))
    httpx.get(second["status_url"])
    said = [(answer.status_code, answer.json()["status"]) for answer in map(httpx.put, _cancel_urls(first, second))]
    assert [(200, "OK"), (202, "CANCELLATION_REQUESTED")] == said
    assert (499, "client_cancelled") == (
        (result := httpx.get(first["response_url"])).status_code,
        result.headers["x-fal-error-type"],
    )


def _cancel_urls(*queued: dict[str, Any]) -> list[str]:
    return [one["cancel_url"] for one in queued]


@pytest.mark.parametrize(("end", "status"), [("failed", 500), ("failed_object", 422), ("aborted", 504)])
def test_a_failure_of_fal_shows_in_its_result(post: Post, end: str, status: int) -> None:
    queued = post("/fal-ai/flux/dev", {"job_polls": 1, "job_end": end}).json()
    said = httpx.get(queued["status_url"]).json()
    assert ("COMPLETED", True) == (said["status"], bool(said["error"]))
    result = httpx.get(queued["response_url"])
    assert (status, said["error_type"]) == (result.status_code, result.headers["x-fal-error-type"])
    assert "x-fal-billable-units" not in result.headers


def test_fal_at_localhost_answers_with_the_images(gateway: Gateway) -> None:
    url = gateway.root.replace("127.0.0.1", "localhost")
    answer = httpx.post(f"{url}/fal-ai/recraft/v3/text-to-image", json={"prompt": "p", "num_images": 3})
    assert (200, "3", 3) == (
        answer.status_code,
        answer.headers["x-fal-billable-units"],
        len(answer.json()["images"]),
    )
    [line] = gateway.billing()
    assert ("success", 3, 120_000_000, None) == (line["outcome"], line["images"], line["charged_nano"], line["job"])
    assert {} == gateway.jobs()


def test_a_prediction_can_be_waited_for(post: Post, gateway: Gateway) -> None:
    headers = {"prefer": "wait=30"}
    answer = post("/v1/predictions", headers=headers, version=f"{SCHNELL}:abc", input={"num_outputs": 2})
    said = answer.json()
    assert (201, "succeeded", 2, SCHNELL) == (
        answer.status_code,
        said["status"],
        len(said["output"]),
        said["model"],
    )
    assert "succeeded" == httpx.get(said["urls"]["get"]).json()["status"]
    [line] = gateway.billing()
    assert ("success", 2, 6_000_000, said["id"]) == (
        line["outcome"],
        line["images"],
        line["charged_nano"],
        line["job"],
    )


def test_waiting_for_a_prediction_may_take_too_long(post: Post, gateway: Gateway) -> None:
    said = post(f"/v1/models/{SCHNELL}/predictions", {"job": True}, {"prefer": "wait"}, input={"prompt": "p"}).json()
    assert ("starting", None, 0) == (said["status"], said["output"], gateway.billed_nano())


def test_black_forest_labs_states_its_price_at_the_submit(post: Post, gateway: Gateway) -> None:
    said = post("/v1/flux-kontext-pro", {"job_polls": 1}, input_image="PNG", width=1024, height=1024).json()
    assert (4, 1.0, 1.04) == (said["cost"], said["input_mp"], said["output_mp"])
    assert [("pending", 40_000_000, "edit", 1)] == [
        (line["outcome"], line["charged_nano"], line["operation"], line["input_images"]) for line in gateway.billing()
    ]
    assert httpx.get(said["polling_url"]).json()["result"]["sample"].startswith(gateway.root)


@pytest.mark.parametrize("dialect", DIALECTS[1:], ids=[dialect.name for dialect in DIALECTS[1:]])
def test_a_submit_can_fail(dialect: Dialect, post: Post, gateway: Gateway) -> None:
    answer = post(dialect.path, {"status": 402}, **dialect.body)
    assert (402, True) == (answer.status_code, "detail" in answer.json())
    assert (400, 400) == (
        post(dialect.path, input={"width": "wide"}, width="wide").status_code,
        httpx.post(gateway.root + dialect.path, content=b"[]").status_code,
    )
    assert ([], {}) == (charges(gateway), gateway.jobs())


def test_units_are_as_many_as_the_amount_is_worth() -> None:
    assert (50_000_000, "2") == charge_units("fal", "fal-ai/flux/dev", 1, 1024, 1025, None)
    assert (10_000_000, "0.4") == charge_units("fal", "fal-ai/flux/dev", 1, 1024, 1025, 10_000_000)
    assert (80_000_000, "2") == charge_units("fal", "fal-ai/flux-pro/v1.1", 2, 4096, 4096, None)
