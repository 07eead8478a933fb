"""What is wrong with a price file is said with its line, and with what to write instead."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixelmeter.core.pricing.file import read

HEAD = 'gateway = "g"\n[[price]]\nmodel = "m"\n'


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ('gateway = "g\n', 1, "this is not TOML: Illegal character"),
        ('gateway = "g"\n[[price]\n', 2, "this is not TOML: "),
        ('gateway = "g"\nprice = 3', 1, 'write gateway = "NAME" first, then [[price]] above every entry'),
        ("gateway = 3", 1, 'write gateway = "NAME" first'),
        ('\ngatewy = "g"', 2, "'gatewy' is not a key of a price file: did you mean gateway?"),
        ('[[price]]\nmodel = "m"\nusd_per_image = "1"', 1, "nothing says whose price this is"),
        ('gateway = "g"\n[[price]]\nusd_per_image = "1"', 2, "nothing says which model this is: write model"),
        (HEAD, 2, "there is no price: give one"),
        (HEAD + "usd_per_image = 0.01", 4, "usd_per_image must be USD in quotes"),
        (HEAD + 'usd_per_image = "-1"', 4, "usd_per_image must be USD in quotes"),
        (HEAD + 'usd_per_image = "1e5"', 4, "usd_per_image must be USD in quotes"),
        (HEAD + 'usd_per_image = "0.0000000000001"', 4, "usd_per_image must be USD in quotes"),
        (HEAD + 'usd_per_image = "١"', 4, "usd_per_image must be USD in quotes"),
        (HEAD + 'usd_per_imge = "1"', 4, "'usd_per_imge' is not a key of a price file: did you mean usd_per_image?"),
        (HEAD + 'usd_per_image_by_colour = "1"', 4, "'usd_per_image_by_colour' is not a key of a price file"),
        (HEAD + 'usd_per_image_by_size = "1"', 4, "usd_per_image_by_size is a table: write [price.usd_per_image_by_"),
        (HEAD + "usd_per_image_by_size = {}", 4, "usd_per_image_by_size is a table"),
        (HEAD + '[price.usd_per_image_by_size]\n"<1px" = "1"', 5, "usd_per_image_by_size: write '<1px' as \"30px\""),
        (HEAD + '[price.usd_per_image_by_steps]\nfew = "1"', 5, "usd_per_image_by_steps: write 'few' as \"30\""),
        (HEAD + '[price.usd_per_image_by_size]\n"" = "1"', 5, "usd_per_image_by_size: sizes, qualities and steps have"),
        (HEAD + 'usd_per_image = "1234567"', 4, "usd_per_image must be USD with at most six digits before the point"),
        (
            HEAD + '[price.usd_per_image_by_size]\n"1K" = "1"\n"1024*1024" = "1"',
            6,
            "usd_per_image_by_size: '1024*1024' is no size: write \"1024x1024\"",
        ),
        (
            HEAD + '[price.usd_per_image_by_size]\n"±1" = "1"',
            5,
            "usd_per_image_by_size: '±1' is no size: write WIDTHxH",
        ),
        (HEAD + '[price.usd_per_image_by_size]\nauto = "1"', 5, 'usd_per_image_by_size: "auto" leaves the size open'),
        (HEAD + 'usd_per_megapixel = "1"\ndefault_size = "big"', 5, "default_size: no price of the entry is for 'big'"),
        ('gateway = "https://Img.example:8443/v1"', 1, "gateway: no gateway is named by a URL: write the host alone"),
        (
            HEAD + 'gateway = "Img.example:8443/v1"\nusd_per_image = "1"',
            4,
            'gateway: no gateway is named by a URL: write the host alone, such as "img.example:8443"',
        ),
        (HEAD + 'usd_per_image = "1"\nservice_tier = 3', 5, "service_tier: Expected `str`, got `int`"),
        (HEAD + 'usd_per_image = "1"\nservice_tier = ""', 5, "service_tier: Expected `str` of length >= 1"),
        (
            HEAD + 'usd_per_image = "1"\nservice_tier = "Standard"',
            5,
            "service_tier: 'Standard' is the price of a call that names no tier: leave it out",
        ),
        (
            HEAD + 'usd_per_image = "1"\nservice_tier = " flex"',
            5,
            "service_tier: no call has spaces around it: write 'flex'",
        ),
        (
            HEAD + 'usd_per_image = "1"\nservice_teir = "flex"',
            5,
            "'service_teir' is not a key of a price file: did you mean service_tier?",
        ),
        (HEAD + 'usd_per_image = "1"\nmax_input_tokens = 0', 5, "max_input_tokens: Expected `int` >= 1"),
        (HEAD + "output_image_tokens_per_image = 1.5", 4, "output_image_tokens_per_image must be a whole number"),
        (HEAD + 'usd_per_image = "1"\nchecked_on = "today"', 5, "checked_on: Expected `date`, got `str`"),
        (HEAD + 'usd_per_image = "1"\neffective_from = 2026-01-01T00:00:00', 5, "effective_from: Expected `date"),
        (
            HEAD + 'usd_per_image = "1"\neffective_from = 2026-01-02\neffective_to = 2026-01-02',
            6,
            "effective_to must be later than effective_from",
        ),
        (HEAD + 'usd_per_image = "1"\n[[price]]\nmodel = "m"\nusd_per_image = "2"', 7, "usd_per_image of 'm' has a"),
        (
            HEAD + 'usd_per_image = "1"\n[[price]]\nmodel = "n"\naliases = ["m"]\nusd_per_image = "2"',
            7,
            "'m' is a name",
        ),
    ],
)
def test_a_problem_has_its_line_and_the_way_out(text: str, line: int, message: str) -> None:
    (problem,) = read(text).problems

    assert (line, message) == (problem.line, problem.message[: len(message)])


def test_every_entry_with_a_problem_is_told_and_the_others_are_there() -> None:
    entries, problems, _ = read(
        'gateway = "g"\n[[price]]\nmodel = "a"\n\n[[price]]\nmodel = "b"\nusd_per_image = "1"\n[[price]]\nmodel = "c"\n'
    )

    assert ["b"] == [entry.model for entry in entries]
    assert [2, 8] == [problem.line for problem in problems]


def problems_of(text: str) -> list[tuple[int, str]]:
    """Return the line of every problem and what it is about."""
    return [(problem.line, re.split(": | is | must ", problem.message)[0]) for problem in read(text).problems]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (HEAD + 'usd_per_imge = "1"\nalias = ["x"]', [(4, "'usd_per_imge'"), (5, "'alias'")]),
        (
            HEAD + 'usd_per_image = 1\nchecked_on = "2026-01-01"\nsource = 3\ndefault_size = "big"',
            [(4, "usd_per_image"), (5, "checked_on"), (6, "source"), (7, "default_size")],
        ),
        (
            "[[price]]\nusd_per_image = 1\neffective_to = 2026-01-01T00:00:00",
            [
                (1, "nothing says which model this is"),
                (1, "nothing says whose price this is"),
                (2, "usd_per_image"),
                (3, "effective_to"),
            ],
        ),
        (
            HEAD + '[price.usd_per_image_by_size]\n"2*2" = 1',
            [(5, "usd_per_image_by_size"), (5, "usd_per_image_by_size.2*2")],
        ),
    ],
)
def test_every_problem_of_an_entry_is_told(text: str, expected: list[tuple[int, str]]) -> None:
    assert expected == sorted(problems_of(text))


def test_every_problem_of_a_table_is_told_at_its_own_line() -> None:
    text = HEAD + '[price.usd_per_image_by_size_and_quality]\n1K = { low = 1, high = 2 }\n2K = 3\n"3*3" = { low = "1" }'

    assert [
        (5, "usd_per_image_by_size_and_quality.1K.low"),
        (5, "usd_per_image_by_size_and_quality.1K.high"),
        (6, "usd_per_image_by_size_and_quality.2K"),
        (7, "usd_per_image_by_size_and_quality"),
    ] == problems_of(text)


def test_a_line_is_never_that_of_a_later_entry() -> None:
    text = (
        HEAD + 'usd_per_image_by_size = { big = 1 }\n[[price]]\nmodel = "n"\n[price.usd_per_image_by_size]\nbig = "1"'
    )

    assert [(4, "usd_per_image_by_size.big")] == problems_of(text)


def test_every_name_that_is_taken_is_told() -> None:
    text = (
        'gateway = "g"\n[[price]]\nmodel = "m"\naliases = ["x", "y"]\nusd_per_image = "1"\n'
        '[[price]]\nmodel = "n"\naliases = ["x", "y"]\nusd_per_image = "1"'
    )

    assert [(8, "'x'"), (8, "'y'")] == problems_of(text)


@pytest.mark.parametrize("size", ["1024x1024", "1024X1024", "2K", "0.5k", "1080p", "4MP", "512", "16:9", "square_hd"])
def test_what_requests_send_as_a_size_may_be_the_key_of_a_price(size: str) -> None:
    entries, problems, _ = read(HEAD + f'default_size = "{size}"\n[price.usd_per_image_by_size]\n"{size}" = "1"')

    assert ([], [size.lower()]) == (problems, [entry.default_size for entry in entries])


def test_entries_written_as_one_array_are_read_too() -> None:
    entries, problems, _ = read('price = [{ gateway = "g", model = "m", usd_per_image = "1" }]')

    assert (["g:m"], []) == ([entry.id for entry in entries], problems)


def test_two_gateways_may_give_one_name_to_two_models() -> None:
    problems = read(
        '[[price]]\ngateway = "a"\nmodel = "m"\naliases = ["x"]\nusd_per_image = "1"\n'
        '[[price]]\ngateway = "b"\nmodel = "n"\naliases = ["x"]\nusd_per_image = "1"\n'
    ).problems

    assert [] == problems


def test_own_entries_have_their_own_ids() -> None:
    text = HEAD + 'quality = "Batch"\neffective_from = 2026-01-01\nusd_per_image = "1"'

    assert ["own:g:m[Batch]@2026-01-01"] == [entry.id for entry in read(text, own=True).entries]


@given(st.text(max_size=200))
def test_any_text_at_all_gives_entries_or_problems(text: str) -> None:
    for document in (text, HEAD + text):
        entries, problems, _ = read(document)

        assert all(1 <= problem.line <= document.count("\n") + 1 for problem in problems)
        assert len(entries) <= document.count("model")
