"""What a Meter takes, and what it says of what it cannot take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

import pixelmeter
from pixelmeter.errors import ConfigError
from pixelmeter.sinks.prometheus import PrometheusSink
from pixelmeter.testing import capture_calls

MODEL = "mine/image-model"
_PRICES = f'gateway = "openai"\n[[price]]\nmodel = "{MODEL}"\nusd_per_image = "0.07"\n'


@pytest.mark.parametrize("as_given", [str, Path])
def test_a_price_file_is_named_by_text_or_path(tmp_path: Path, as_given: Any) -> None:
    file = tmp_path / "prices.toml"
    file.write_text(_PRICES)
    meter = pixelmeter.Meter(f"sqlite:///{tmp_path}/a.db", price_book=as_given(file))
    answer = httpx.MockTransport(lambda request: httpx.Response(200, json={"data": [{"url": "u"}]}))
    with capture_calls() as calls, pixelmeter.instrument(httpx.Client(transport=answer), meter) as client:
        client.post("https://api.openai.com/v1/images/generations", json={"model": MODEL})
    assert [70_000_000] == [call.cost for call in calls]


@pytest.mark.parametrize(
    ("unfit", "advice"),
    [
        ({"database_url": Path("x.db")}, "sqlite:///"),
        ({"price_book": {"model": "m"}}, "path of a price file"),
        ({"tags": "team=x"}, "tags is a str: give a dict"),
        ({"gateways": "a.example=openai"}, "gateways is a str: give a dict"),
        ({"gateways": {"https://a.example": "openai"}}, "'https://a.example' is no host"),
        ({"gateways": {"a.example/v1": "openai"}}, "'a.example/v1' is no host"),
        ({"sinks": "otel"}, "'o' is no sink: give objects"),
        ({"sinks": ["prometheus"]}, "'prometheus' is no sink: give objects"),
        ({"sinks": [PrometheusSink]}, "is no sink: give objects"),
        ({"registry": "x"}, "registry is a str: give a prometheus_client.CollectorRegistry"),
    ],
)
def test_what_cannot_be_used_is_refused_at_once(unfit: dict[str, Any], advice: str) -> None:
    with pytest.raises(ConfigError, match=advice):
        pixelmeter.Meter(**unfit)


def test_a_client_of_another_meter_is_refused_with_what_to_do(tmp_path: Path) -> None:
    first, second = (pixelmeter.Meter(f"sqlite:///{tmp_path}/{name}.db") for name in "ab")
    client = pixelmeter.instrument(httpx.Client(), first)
    with pytest.raises(ConfigError, match="go on with that one, or make a new client"):
        pixelmeter.instrument(client, second)


@pytest.mark.parametrize(
    ("percent", "rate", "fee"), [("10", 100_000, 4_000_000), ("0", 0, 0), (None, 50_000, 2_000_000)]
)
def test_the_environment_says_what_fee_the_gateway_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, percent: str | None, rate: int, fee: int
) -> None:
    if percent is not None:
        monkeypatch.setenv("PIXELMETER_FEE_PERCENT", percent)
    meter = pixelmeter.Meter(f"sqlite:///{tmp_path}/a.db")
    answer = httpx.Response(200, headers={"x-cost-cents": "4"}, json={"data": [{"url": "u"}]})
    client = pixelmeter.instrument(httpx.Client(transport=httpx.MockTransport(lambda _: answer)), meter)
    with capture_calls() as calls, client:
        client.post("https://api.aigateway.sh/v1/images/generations", json={"model": MODEL})
    assert [(40_000_000, rate, fee)] == [(call.cost, call.fee_rate, call.fee) for call in calls]
