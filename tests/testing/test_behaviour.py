from __future__ import annotations

import json

import pytest

from pixelmeter.testing import Gateway
from pixelmeter.testing.behaviour import BehaviourError, check, from_header
from tests.testing.conftest import Post


def test_a_behaviour_that_does_not_exist_is_answered_with_those_that_do() -> None:
    with pytest.raises(BehaviourError, match=r"no behaviour is called 'statuss'; there are: gateway, status, "):
        check({"statuss": 503})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"status": "503"}, "status cannot be '503'; it takes int or null"),
        ({"charged": 1}, "charged cannot be 1; it takes bool or null"),
        ({"cut": "somewhere"}, '"before_read" or "before_headers" or "after_headers" or int or null'),
        ({"gateway": "bedrock"}, '"aigateway" or "openai"'),
        ({"headers": {"x": 1}}, "headers cannot be"),
        ({"informational": ["103"]}, "informational cannot be"),
        ({"cost_header": True}, "cost_header cannot be True"),
    ],
)
def test_a_value_of_the_wrong_kind_is_answered_with_the_right_one(given: dict[str, object], words: str) -> None:
    with pytest.raises(BehaviourError) as caught:
        check(given)
    assert words in str(caught.value)


def test_a_list_in_the_header_holds_one_behaviour_for_each_attempt() -> None:
    text = json.dumps([{"status": 503}, {"status": 429}, {}])
    assert [{"status": 503}, {"status": 429}, {}, {}] == [from_header(text, attempt) for attempt in range(4)]


def test_a_header_that_makes_no_sense_is_a_400_that_says_why(post: Post, gateway: Gateway) -> None:
    answer = post(behaviour={"statuss": 503})
    assert 400 == answer.status_code
    assert "no behaviour is called 'statuss'" in answer.json()["error"]["message"]
    assert [] == gateway.billing()


def test_telling_what_makes_no_sense_raises(gateway: Gateway) -> None:
    with pytest.raises(ValueError, match="no behaviour is called 'statuss'"):
        gateway.tell(statuss=503)
