"""What an answer about a job says of its end, whatever comes."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixelmeter.core.apis import prediction_jobs
from pixelmeter.core.apis.reader import ImageRequest, ImageResponse
from pixelmeter.core.apis.usage import Block, Usage
from pixelmeter.core.attempts.job_ends import end_of
from pixelmeter.core.attempts.jobs import Evidence, JobEnd, JobSource
from pixelmeter.core.gateways.jobs import Job
from pixelmeter.core.gateways.places import DocumentPath
from pixelmeter.core.gateways.profile import Errors, Profile
from pixelmeter.gateways import load_profiles
from tests.core.apis.reading import HOSTILE, documents, is_bounded
from tests.effort import examples

_PROFILES = load_profiles({})
_ROUTES = [route for profile in _PROFILES.profiles for route in _PROFILES.follow_routes_of(profile)]
_SOURCES: tuple[JobSource, ...] = ("poll", "result", "cancel", "webhook")
_JOB = Job(
    id=(DocumentPath("id"),),
    status=(DocumentPath("status"), DocumentPath("parts[].status")),
    pending=("waiting",),
    failed=("broken", "refused"),
    cancelled=("stop*",),
    not_charged=("refused",),
)
_DONE = msgspec.structs.replace(_JOB, done=("ready",))
_PROFILE = Profile(id="corp", errors=Errors(not_charged=frozenset({500})))


class _Route(msgspec.Struct, frozen=True):
    response = prediction_jobs.RESPONSE
    job: Job | None = None


def heard(
    body: object, source: JobSource = "poll", job: Job = _JOB, status: int = 200, failed: tuple[int, ...] = ()
) -> JobEnd | None:
    response = prediction_jobs.response_of(json.dumps(body).encode(), ImageRequest(), _Route(job))
    return made(response, source, job, status, failed)


def made(
    response: ImageResponse,
    source: JobSource = "poll",
    job: Job = _JOB,
    status: int = 200,
    failed: tuple[int, ...] = (),
) -> JobEnd | None:
    return end_of(
        response,
        {},
        profile=_PROFILE,
        job=job,
        cost=(),
        source=source,
        gateway="corp",
        job_id="j",
        heard_at=7,
        id="i",
        version="v",
        status=status,
        failed_statuses=failed,
    )


def said(end: JobEnd | None) -> tuple[str, str | None, int | None] | None:
    return None if end is None else (end.outcome, end.error_type, end.images)


_IMAGES = [{"url": "u"}]


@pytest.mark.parametrize("source", _SOURCES)
@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"status": "waiting", "images": _IMAGES}, None),
        ({"status": "WAITING"}, None),
        ({"status": "ready", "images": _IMAGES}, ("success", None, 1)),
        ({"status": "ready", "images": []}, ("error", "no_images", 0)),
        ({"status": "ready"}, ("success", None, None)),
        ({"status": "ready", "error": {"type": "odd"}}, ("error", "odd", None)),
        ({"status": "broken"}, ("error", "broken", None)),
        ({"status": "broken", "error": {"type": "odd"}}, ("error", "odd", None)),
        ({"status": "broken", "images": _IMAGES}, ("error", "broken", 1)),
        ({"status": "stopped"}, ("cancelled", "stopped", None)),
        ({"images": _IMAGES}, ("success", None, 1)),
        ({"parts": [{"status": "ready"}, {"status": "waiting"}], "images": _IMAGES}, None),
        ({"parts": [{"status": "broken"}, {"status": "ready"}], "images": _IMAGES}, ("success", None, 1)),
        ({"parts": [{"status": "broken"}, {"status": "refused"}]}, ("error", "broken", None)),
    ],
)
def test_a_status_or_an_image_tells_how_a_job_has_ended(
    source: JobSource, body: object, expected: tuple[str, str | None, int | None] | None
) -> None:
    if source == "cancel" and expected is None:
        # That it goes on is what is to be expected.
        expected = ("cancelled", None, 1 if "images" in json.dumps(body) else None)
    assert expected == said(heard(body, source))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"status": "ready"}, ("success", None, None)),
        ({"status": "half done"}, None),
        ({"status": "half done", "images": _IMAGES}, ("success", None, 1)),
        ({"status": "half done", "error": {"type": "odd"}}, None),
        ({"status": "waiting"}, None),
    ],
)
def test_where_a_profile_says_what_is_done_another_status_says_nothing(
    body: object, expected: tuple[str, str | None, int | None] | None
) -> None:
    assert expected == said(heard(body, job=_DONE))


@pytest.mark.parametrize(
    ("source", "body", "expected"),
    [
        ("poll", {"error": {"type": "odd"}}, None),
        ("result", {"error": {"type": "odd"}}, ("error", "odd", None)),
        ("webhook", {"error": {"type": "odd"}}, ("error", "odd", None)),
        ("cancel", {"error": {"type": "odd"}}, None),
        ("poll", {"text": "t"}, None),
        ("result", {"text": "t"}, ("success", None, None)),
        ("webhook", {"text": "t"}, None),
        ("cancel", {"text": "t"}, ("cancelled", None, None)),
        ("cancel", [], ("cancelled", None, None)),
        ("poll", [], None),
        ("result", [], None),
    ],
)
def test_without_a_status_only_a_result_tells_by_itself(
    source: JobSource, body: object, expected: tuple[str, str | None, int | None] | None
) -> None:
    assert expected == said(heard(body, source))


@pytest.mark.parametrize("source", ["poll", "result", "webhook"])
@pytest.mark.parametrize("status", [0, 101, 202, 302, 304, 400, 404, 429, 500])
def test_another_status_of_http_tells_nothing(source: JobSource, status: int) -> None:
    assert None is heard({"status": "ready", "images": _IMAGES}, source, status=status)


@pytest.mark.parametrize(
    ("status", "outcome", "not_charged"),
    [
        (400, "rejected", False),
        (408, "timeout", False),
        (422, "rejected", False),
        (429, "error", False),
        (500, "error", True),
        (504, "timeout", False),
    ],
)
def test_a_failed_status_with_a_named_error_is_the_end(status: int, outcome: str, not_charged: bool) -> None:
    end = heard({"error": {"type": "odd", "code": "E7"}}, "result", status=status, failed=(status,))
    assert end is not None
    assert (outcome, "odd", "E7", not_charged) == (end.outcome, end.error_type, end.error_code, end.not_charged)
    assert None is heard({"detail": "m"}, "result", status=status, failed=(status,))


def test_what_is_not_charged_is_of_failed_and_cancelled_only() -> None:
    ends = [heard({"status": status}) for status in ("refused", "broken", "ready")]
    assert [True, False, False] == [end is not None and end.not_charged for end in ends]
    assert [Evidence.MONEY, Evidence.RESULT, Evidence.STATE] == [end.evidence for end in ends if end is not None]


def test_a_cancellation_that_is_answered_with_the_end_tells_it_as_a_poll_does() -> None:
    ends = [heard({"status": status}, "cancel") for status in ("ready", "broken", "stopped", "waiting")]
    assert ["poll", "poll", "cancel", "cancel"] == [end.source for end in ends if end is not None]


def test_a_usage_of_another_model_is_a_doubt() -> None:
    usage = Usage(output_image=7)
    response = ImageResponse(readable=True, images=1, usage=usage, blocks=(Block("other", usage),))
    end = made(response)
    assert end is not None
    assert (7, "unpriced_usage") == (end.usage.output_image, end.usage.doubt)


def test_an_answer_that_is_not_decoded_tells_nothing() -> None:
    assert None is made(ImageResponse(decoded=False), "result")


_NAMES = """
id status state task task_status output result outputs images image url urls data generated error type code detail
errors error_type sample cost usage usage_cost_usd_micros credits charged_amount task_id taskUUID image_result
generations_by_pk generated_images generated_image_variation_generic assets inference_status modality
"""
_WORDS = """
completed succeeded COMPLETED Ready failed FAILED canceled processing IN_QUEUE SUCCESS TASK_STATUS_SUCCEED success
https://files.example/1.png 0.04 image
"""

_DOCUMENTS = documents(_NAMES.split(), _WORDS.split())


@pytest.mark.slow
@settings(max_examples=examples(400))
@given(
    st.sampled_from(range(len(_ROUTES))),
    st.sampled_from(_SOURCES),
    st.one_of(
        documents(_NAMES.split(), _WORDS.split()).map(lambda body: json.dumps(body).encode()), st.sampled_from(HOSTILE)
    ),
    st.sampled_from([200, 201, 202, 204, 304, 400, 422, 500, 504]),
    st.dictionaries(
        st.sampled_from([b"x-fal-billable-units", b"x-cost-cents", b"x-routing-selected", b"x-aig-provider"]),
        st.one_of(st.binary(max_size=8), st.sampled_from([b"4", b"0", b"1e400", b"-1", b"nan", b"9" * 5000])),
    ),
)
def test_whatever_comes_is_an_end_within_bounds_or_none(
    at: int, source: JobSource, body: bytes, status: int, headers: dict[bytes, bytes]
) -> None:
    route = _ROUTES[at]
    response = route.reader.response_of(body, ImageRequest(), route)
    end = end_of(
        response,
        headers,
        profile=route.profile,
        job=route.job,
        cost=route.cost,
        source=source,
        gateway=route.profile.id,
        job_id="j",
        heard_at=1,
        id="019a0000-0000-7000-8000-000000000000",
        version="v",
        status=status,
        failed_statuses=route.failed_statuses,
    )
    if end is None:
        return
    assert is_bounded(response)
    assert end == msgspec.msgpack.decode(msgspec.msgpack.encode(end), type=JobEnd)
    assert end.outcome in ("success", "error", "rejected", "cancelled", "timeout")
    assert (end.error_type is None) is (end.outcome == "success") or end.outcome == "cancelled"
    assert all(
        text is None or (len(text) <= 200 and text.isprintable())
        for text in (end.error_type, end.error_code, end.model, end.provider, end.size, end.reported_text, end.units)
    )
