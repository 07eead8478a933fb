"""What is wrong with a price file is said with its line, and with what to write instead."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixelmeter.core.pricefile import read

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
        ('gateway = "g"\n[[price]]\nusd_per_image = "1"', 2, "Object missing required field `model`"),
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
        (HEAD + '[price.usd_per_image_by_size]\n"<1px" = "1"', 4, "usd_per_image_by_size: write '<1px' as \"30px\""),
        (HEAD + '[price.usd_per_image_by_steps]\nfew = "1"', 4, "usd_per_image_by_steps: write 'few' as \"30\""),
        (HEAD + '[price.usd_per_image_by_size]\n"" = "1"', 4, "usd_per_image_by_size: sizes, qualities and steps have"),
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
    _, (problem,) = read(text)

    assert (line, message) == (problem.line, problem.message[: len(message)])


def test_every_entry_with_a_problem_is_told_and_the_others_are_there() -> None:
    entries, problems = read(
        'gateway = "g"\n[[price]]\nmodel = "a"\n\n[[price]]\nmodel = "b"\nusd_per_image = "1"\n[[price]]\nmodel = "c"\n'
    )

    assert ["b"] == [entry.model for entry in entries]
    assert [2, 8] == [problem.line for problem in problems]


def test_entries_written_as_one_array_are_read_too() -> None:
    entries, problems = read('price = [{ gateway = "g", model = "m", usd_per_image = "1" }]')

    assert (["g:m"], []) == ([entry.id for entry in entries], problems)


def test_two_gateways_may_give_one_name_to_two_models() -> None:
    _, problems = read(
        '[[price]]\ngateway = "a"\nmodel = "m"\naliases = ["x"]\nusd_per_image = "1"\n'
        '[[price]]\ngateway = "b"\nmodel = "n"\naliases = ["x"]\nusd_per_image = "1"\n'
    )

    assert [] == problems


def test_own_entries_have_their_own_ids() -> None:
    text = HEAD + 'quality = "Batch"\neffective_from = 2026-01-01\nusd_per_image = "1"'

    assert ["own:g:m[Batch]@2026-01-01"] == [entry.id for entry in read(text, own=True)[0]]


@given(st.text(max_size=200))
def test_any_text_at_all_gives_entries_or_problems(text: str) -> None:
    for document in (text, HEAD + text):
        entries, problems = read(document)

        assert all(1 <= problem.line <= document.count("\n") + 1 for problem in problems)
        assert len(entries) <= document.count("model")
