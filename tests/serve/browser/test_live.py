"""A page renews its figures by itself, and whoever reads it is not disturbed."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.serve.browser.chromium import Visit
from tests.serve.browser.sample import Sample, table

pytestmark = pytest.mark.slow

MINUTE = 60_000
HIDE = """
(isHidden) => {
  Object.defineProperty(document, "hidden", { get: () => isHidden, configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
}
"""


def rows(*numbers: int) -> str:
    return (
        "<table><tbody>"
        + "".join(f'<tr><td><a href="/c/{n}">call {n}</a></td></tr>' for n in numbers)
        + "</tbody></table>"
    )


def test_new_figures_come_by_themselves_and_nothing_else_changes(visit: Visit, sample: Sample) -> None:
    form = '<form method="get"><input name="model" aria-label="Model"></form>'
    details = "<details><summary>More</summary><p>Details</p></details>"

    def main(sum: str) -> str:
        return f'<h1 id="sum">{sum}</h1>{form}{details}' + "<p>text</p>" * 200 + f"<p>{sum}</p>"

    sample.main = main("$1")
    visit.see(sample.root)
    visit.page.locator("summary").click()
    visit.page.get_by_label("Model").press_sequentially("flux")
    visit.page.evaluate("scrollTo(0, 700)")
    sample.wait_for(304)
    sample.main = main("$2")

    expect(visit.page.locator("#sum")).to_have_text("$2")
    expect(visit.page.locator("main > p").last).to_have_text("$2")
    expect(visit.page.get_by_label("Model")).to_have_value("flux")
    expect(visit.page.get_by_label("Model")).to_be_focused()
    expect(visit.page.locator("details")).to_have_attribute("open", "")
    assert 700 == visit.page.evaluate("scrollY")
    sample.wait_for(304)
    assert "1" == visit.page.locator("html").get_attribute("data-updates")


def test_the_focus_stays_with_its_row_when_others_come_and_go(visit: Visit, sample: Sample) -> None:
    sample.main = rows(3, 2, 1)
    visit.see(sample.root)
    focused = visit.page.get_by_role("link", name="call 2")
    focused.focus()

    for numbers in ((5, 4, 3, 2, 1), (2, 5, 4), (7, 6, 5, 2)):
        sample.main = rows(*numbers)
        expect(visit.page.locator("td")).to_have_text([f"call {n}" for n in numbers])
        expect(focused).to_be_focused()
    sample.main = rows(9, 8)
    expect(visit.page.locator("td")).to_have_text(["call 9", "call 8"])
    expect(visit.page.locator("main")).to_be_focused()


def test_rows_that_have_the_same_name_all_stay(visit: Visit, sample: Sample) -> None:
    def named(*cells: str) -> str:
        row = '<tr><th scope="row"><span data-key="{0[0]}"></span>{0}</th></tr>'
        return f"<table><tbody>{''.join(row.format(cell) for cell in cells)}</tbody></table>"

    sample.main = named("a", "x of fal")
    visit.see(sample.root)
    for cells in (["x of fal", "x of openai", "a"], ["x of openai", "a", "x of fal"], ["a", "x of fal"]):
        sample.main = named(*cells)
        expect(visit.page.locator("th")).to_have_text(cells)


def test_sections_that_come_and_go_leave_the_others_as_they_were(visit: Visit, sample: Sample) -> None:
    one, two = table({"flux": ["1", "2"]}, name="one"), table({"flux": ["3"]}, name="two")
    sample.main = f"<h1>x</h1><section id='a'>{one}</section>"
    visit.see(sample.root)
    visit.page.evaluate("document.querySelector('canvas').isMarked = true")
    sample.main = f"<h1>x</h1><p id='warning'>Behind</p><section id='b'>{two}</section><section id='a'>{one}</section>"
    expect(visit.page.locator("canvas")).to_have_count(2)

    marked = "[...document.querySelectorAll('canvas')].map((canvas) => canvas.isMarked ?? false)"
    assert [False, True] == visit.page.evaluate(marked)
    sample.main = f"<h1>x</h1><section id='a'>{table({'flux': ['1', '2', '3']}, name='one')}</section>"
    expect(visit.page.locator("canvas")).to_have_count(1)
    expect(visit.page.locator("#one tbody tr")).to_have_count(3)
    assert [False] == visit.page.evaluate(marked)


def test_what_has_changed_is_announced_but_not_every_time(visit: Visit, sample: Sample) -> None:
    visit.page.clock.install()
    sample.main = "<h1>$1</h1>"
    visit.see(sample.root)
    told = visit.page.get_by_role("status")
    expect(told).to_have_text("")

    sample.main = "<h1>$2</h1>"
    visit.page.clock.run_for(2000)
    expect(told).to_contain_text("The figures were updated at")
    first = told.inner_text()
    sample.main = "<h1>$3</h1>"
    visit.page.clock.run_for(5000)
    expect(visit.page.locator("h1")).to_have_text("$3")
    expect(told).to_have_text(first)
    sample.main = "<h1>$4</h1>"
    visit.page.clock.run_for(MINUTE)
    expect(visit.page.locator("h1")).to_have_text("$4")
    expect(told).not_to_have_text(first)


def test_updates_can_be_paused(visit: Visit, sample: Sample) -> None:
    visit.page.clock.install()
    sample.main = "<h1>$1</h1>"
    visit.see(sample.root)
    button = visit.page.get_by_role("button", name="Pause updates")
    button.click()
    asked = len(sample.answers)
    sample.main = "<h1>$2</h1>"
    visit.page.clock.run_for(10 * MINUTE)
    expect(visit.page.get_by_text("Updates are paused.")).to_be_visible()
    assert asked == len(sample.answers)

    button.press("Enter")
    expect(visit.page.locator("h1")).to_have_text("$2")
    expect(button).to_be_focused()


def test_a_page_that_nobody_looks_at_asks_nothing(visit: Visit, sample: Sample) -> None:
    visit.page.clock.install()
    sample.main = "<h1>$1</h1>"
    visit.see(sample.root)
    visit.page.evaluate(HIDE, True)
    asked = len(sample.answers)
    sample.main = "<h1>$2</h1>"
    visit.page.clock.run_for(10 * MINUTE)
    assert asked == len(sample.answers)

    visit.page.evaluate(HIDE, False)
    expect(visit.page.locator("h1")).to_have_text("$2")


def test_a_server_in_trouble_is_told_and_asked_less_often(visit: Visit, sample: Sample) -> None:
    visit.page.clock.install()
    sample.main = "<h1>$1</h1>"
    visit.see(sample.root)
    sample.status = 503
    visit.page.clock.run_for(1500)
    expect(visit.page.get_by_text("The server answers with status 503: these figures may be old.")).to_be_visible()
    expect(visit.page.get_by_text("Next try in 2 s.")).to_be_visible()
    for waited, seconds in ((2, 4), (4, 8), (8, 16), (16, 32), (32, 60)):
        visit.page.clock.run_for(waited * 1000)
        expect(visit.page.get_by_text(f"Next try in {seconds} s.")).to_be_visible()
    expect(visit.page.locator("h1")).to_have_text("$1")

    sample.status, sample.main = 200, "<h1>$2</h1>"
    visit.page.clock.run_for(MINUTE)
    expect(visit.page.locator("h1")).to_have_text("$2")
    expect(visit.page.get_by_text("Updates itself every 1 s.")).to_be_visible()
    assert visit.errors
    assert all("503" in error for error in visit.errors)
    visit.errors.clear()


def test_filters_left_empty_are_not_in_the_address(visit: Visit, sample: Sample) -> None:
    fields = '<input name="a" value=""><input name="b" value="x"><button>Filter</button>'
    sample.main = f'<form method="get" action="/">{fields}</form>'
    visit.see(sample.root)
    visit.page.get_by_role("button", name="Filter").click()
    visit.page.wait_for_url("**/?b=x")
