"""Raw headers by name, and what of them is believed."""

from __future__ import annotations

from pixelmeter.core.wire.headers import by_name, first, length_of


def test_names_are_compared_in_lower_case() -> None:
    assert {b"x-cost-cents": b"4"} == by_name([(b"X-Cost-Cents", b"4")])


def test_an_amount_that_comes_twice_is_no_amount() -> None:
    twice = by_name(iter([(b"x-cost-cents", b"4"), (b"etag", b"e"), (b"X-Cost-Cents", b"9")]))
    assert {b"x-cost-cents": b"4, 9", b"etag": b"e"} == twice


def test_the_first_name_that_has_a_value_counts() -> None:
    headers = by_name([(b"b", b""), (b"c", b"s\xe4ge\x07"), (b"d", b"d")])
    assert "säge?" == first(headers, (b"a", b"b", b"c", b"d"))
    assert first(headers, (b"a", b"b")) is None


def test_a_length_is_a_sane_number_or_unknown() -> None:
    lengths = [length_of({b"content-length": text}) for text in (b"12", b"-1", b"1e3", b"12, 12", b"", b"9" * 19)]
    assert [12, None, None, None, None, None] == lengths
    assert length_of({}) is None
