"""Where a problem of a TOML file is."""

from __future__ import annotations

import pytest

from pixelmeter.core.toml import TomlError, line_at, parse

_TEXT = """\
id = "corp"
[match]
hosts = [
    "images.corp.example",
]

[[route]]
path = "/v1/images"  # [route.request] = nothing
[route.request]
model = ["body.model"]

[[route]]
path = "/v1/edits"
  [route.request]
  model = ["body.model"]
  "size" = ["body.size"]
[[route.parts]]
name = "a"
[[route.parts]]
name = "b"

[[cost]]
when = { "usage.byok" = [true] }
[identity]
request_id = []
"""


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("$.id", 'id = "corp"'),
        ("$.match", "[match]"),
        ("$.match.hosts", "hosts = ["),
        ("$.match.hosts[0]", "hosts = ["),
        ("$.route[0].path", 'path = "/v1/images"  # [route.request] = nothing'),
        ("$.route[0].request.model", 'model = ["body.model"]'),
        ("$.route[1]", "[[route]]"),
        ("$.route[1].path", 'path = "/v1/edits"'),
        ("$.route[1].request", "  [route.request]"),
        ("$.route[1].request.model", '  model = ["body.model"]'),
        ("$.route[1].request.size", '  "size" = ["body.size"]'),
        ("$.route[1].request.size[0]", '  "size" = ["body.size"]'),
        ("$.route[1].parts[1].name", 'name = "b"'),
        ("$.cost[0].when", 'when = { "usage.byok" = [true] }'),
        ("$.identity.request_id", "request_id = []"),
    ],
)
def test_a_path_has_the_line_where_its_key_is_written(path: str, line: str) -> None:
    parse(_TEXT)
    assert line == _TEXT.splitlines()[line_at(_TEXT, path) - 1]


@pytest.mark.parametrize(
    ("path", "nearest"),
    [
        ("$.match.none", "[match]"),
        ("$.route[1].request.none", "  [route.request]"),
        ("$.cost[0].from", "[[cost]]"),
        ("$.none", 'id = "corp"'),
        ("$", 'id = "corp"'),
        ("", 'id = "corp"'),
    ],
)
def test_a_key_that_is_not_there_has_the_line_of_its_table_else_the_first(path: str, nearest: str) -> None:
    assert nearest == _TEXT.splitlines()[line_at(_TEXT, path) - 1]


def test_the_second_of_two_tables_is_not_taken_for_the_first() -> None:
    assert [7, 12] == [line_at(_TEXT, f"$.route[{at}]") for at in range(2)]


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize("text", ["", "\n\n", "= no key\n[", "[" * 10_000, "a." * 10_000 + "b = 1"])
def test_of_what_is_no_document_it_is_the_first_line(text: str) -> None:
    assert 1 == line_at(text, "$.route[0].path")


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize(
    ("text", "line"), [("a = 1\nb = ", 2), ("a = 1\n\nc = " + "9" * 5000, 3), ("a = 1\nb = " + "[" * 5000, 2)]
)
def test_what_cannot_be_read_is_refused_with_its_line(text: str, line: int) -> None:
    with pytest.raises(TomlError) as caught:
        parse(text)
    assert line == caught.value.line
