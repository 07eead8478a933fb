"""Charts show what their tables say, in colours that belong to names."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.prometheus import eventually
from tests.serve.browser.chromium import Visit, audit, visiting
from tests.serve.browser.sample import Sample, table

pytestmark = pytest.mark.slow

# The heights of the bars that have the colour of a name, from left to right, in pixels.
_HEIGHTS = """
([chart, name]) => {
  const frame = document.querySelector(`#${chart}`).closest(".scroll").previousElementSibling;
  const key = [...frame.querySelectorAll(".legend [data-key]")].find((each) => each.dataset.key === name);
  const wanted = getComputedStyle(key).backgroundColor.match(/\\d+/g).map(Number);
  const canvas = frame.querySelector("canvas");
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  const heights = [];
  let isInside = false;
  for (let x = 0; x < canvas.width; x += 1) {
    let height = 0;
    for (let y = 0; y < canvas.height; y += 1) {
      const at = (y * canvas.width + x) * 4;
      height += wanted.every((part, place) => Math.abs(data[at + place] - part) < 3) && data[at + 3] > 250;
    }
    if (height > 2) {
      if (!isInside) heights.push(0);
      heights[heights.length - 1] = Math.max(heights[heights.length - 1], height);
    }
    isInside = height > 2;
  }
  return heights;
}
"""
_KEEP_TEXTS = """
window.texts = [];
const draw = CanvasRenderingContext2D.prototype.fillText;
CanvasRenderingContext2D.prototype.fillText = function (text, ...rest) {
  window.texts.push(text);
  return draw.call(this, text, ...rest);
};
"""


def heights(page: Page, name: str, chart: str = "days") -> list[int]:
    found: list[int] = page.evaluate(_HEIGHTS, [chart, name])
    return found


def colours(page: Page) -> dict[str, set[str]]:
    """Return the colours that each name has, wherever it has one."""
    found: list[list[str]] = page.locator("[data-key]").evaluate_all(
        "(keys) => keys.map((key) => [key.dataset.key, getComputedStyle(key).backgroundColor])"
    )
    of: dict[str, set[str]] = {}
    for name, colour in found:
        of.setdefault(name, set()).add(colour)
    return of


def test_bars_begin_at_zero_and_are_stacked(visit: Visit, sample: Sample) -> None:
    sample.main = table({"flux": ["1", "1", "2"], "seedream": ["1", "3", "0"]})
    visit.see(sample.root)

    low, same, high = heights(visit.page, "flux")
    small, large = heights(visit.page, "seedream")
    assert low == same
    assert high == pytest.approx(2 * low, abs=3)
    assert small == pytest.approx(low, abs=3)
    assert large == pytest.approx(3 * small, abs=6)


def test_what_is_unknown_is_a_gap_and_said_so(visit: Visit, sample: Sample) -> None:
    sample.main = table({"flux": ["1", None, "1"], "seedream": ["1", "1", "1"]})
    visit.see(sample.root)

    assert 2 == len(heights(visit.page, "flux"))
    assert 3 == len(heights(visit.page, "seedream"))
    canvas = visit.page.locator(".canvas .u-over")
    canvas.hover()
    expect(visit.page.locator(".tip li", has_text="flux")).to_have_text(" flux unknown")


def test_a_bar_tells_its_row_and_leads_where_the_row_leads(visit: Visit, sample: Sample) -> None:
    sample.main = table({"flux": ["1.25", "2", "3"]})
    visit.see(sample.root)
    plot = visit.page.locator(".canvas .u-over")
    box = plot.bounding_box()
    assert box is not None

    plot.hover(position={"x": box["width"] / 6, "y": box["height"] / 2})
    expect(visit.page.locator(".tip p")).to_have_text("row 0")
    expect(visit.page.locator(".tip li")).to_have_text([" flux 1.25"])
    plot.click(position={"x": box["width"] / 6, "y": box["height"] / 2})
    visit.page.wait_for_url("**/calls?since=1793491200")


def test_a_name_has_one_colour_on_the_page_and_keeps_it_on_others(visit: Visit, sample: Sample) -> None:
    names = [f"vendor/model-{number}" for number in range(9)] + ["other"]
    keys = "".join(f'<p><span class="key" data-key="{name}"></span> {name}</p>' for name in names)
    sample.main = (
        table({name: ["1"] for name in names}) + table({name: ["1"] for name in names[::-2]}, name="more") + keys
    )
    visit.see(sample.root)
    first = colours(visit.page)
    sample.main = keys + table({name: ["1", "2"] for name in reversed(names)})
    visit.see(sample.root)

    assert set(names) == set(first)
    assert all(len(each) == 1 for each in first.values())
    assert len(names) == len(set.union(*first.values()))
    assert first == colours(visit.page)


def test_outcomes_have_the_colours_of_good_and_bad(visit: Visit, sample: Sample) -> None:
    sample.main = table({"success": ["1"], "error": ["1"], "other": ["1"]}, unit="count")
    visit.see(sample.root)

    found = colours(visit.page)
    assert [{"rgb(43, 122, 51)"}, {"rgb(179, 38, 30)"}] == [found["success"], found["error"]]


def test_names_of_strangers_are_text(visit: Visit, sample: Sample) -> None:
    hostile = [
        "<img src=x onerror=alert(1)>",
        "</table><script>alert(2)</script>",
        "constructor",
        "\u202egnp.exe",
        "x" * 300,
    ]
    sample.main = table({name: ["1"] for name in hostile})
    dialogs: list[str] = []
    visit.page.on("dialog", lambda dialog: dialogs.append(dialog.message))
    visit.see(sample.root)
    visit.page.locator(".canvas .u-over").hover()

    expect(visit.page.locator(".legend li")).to_have_text([f" {name}" for name in hostile])
    expect(visit.page.locator(".tip li")).to_have_count(len(hostile))
    assert 0 == visit.page.locator("main img, main script").count()
    assert [] == dialogs
    assert visit.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize(
    ("zone", "step", "start", "expected"),
    [
        ("UTC", 86_400, 1_793_491_200, ["1 Nov", "2 Nov", "3 Nov"]),
        ("Asia/Kolkata", 86_400, 1_793_471_400, ["1 Nov", "2 Nov", "3 Nov"]),
        ("Asia/Kolkata", 3600, 1_793_471_400, ["1 Nov", "01:00", "02:00"]),
    ],
)
def test_the_axis_has_the_hours_and_days_of_the_zone(
    visit: Visit, sample: Sample, zone: str, step: int, start: int, expected: list[str]
) -> None:
    visit.context.add_init_script(_KEEP_TEXTS)
    sample.main = table({"flux": ["1", "2", "3"]}, step=step, start=start).replace(
        'data-zone="UTC"', f'data-zone="{zone}"'
    )
    visit.see(sample.root)

    shown: list[str] = visit.page.evaluate("window.texts")
    assert expected == [text for text in shown if "$" not in text]
    assert "$0" in shown


def test_lines_and_a_single_moment_are_drawn_too(visit: Visit, sample: Sample) -> None:
    visit.context.add_init_script(_KEEP_TEXTS)
    lines = table({"p50": ["0.2", "0.4"], "p95": ["0.8", None]}, kind="lines", unit="seconds", name="latency")
    sample.main = lines + table({"flux": ["3"]}, name="one") + table({"none": []}, name="empty")
    visit.see(sample.root)

    assert "2" == visit.page.locator("html").get_attribute("data-drawn")
    assert 1 == len(heights(visit.page, "flux", "one"))
    assert heights(visit.page, "p50", "latency")
    assert "200 ms" in visit.page.evaluate("window.texts")


def test_colours_follow_the_system_and_paper_has_the_light_ones(visit: Visit, sample: Sample) -> None:
    sample.main = table({"success": ["1"]})
    visit.see(sample.root)
    visit.page.emulate_media(color_scheme="dark")
    expect(visit.page.locator("body")).to_have_css("background-color", "rgb(20, 24, 31)")

    # Charts are drawn once more, a moment after the event.
    def is_drawn(wanted: object) -> bool:
        return colours(visit.page) == wanted and 1 == len(heights(visit.page, "success"))

    dark, light = ({"success": {colour}} for colour in ("rgb(108, 192, 112)", "rgb(43, 122, 51)"))
    eventually("the charts have the colours of the dark", lambda: is_drawn(dark))

    visit.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    eventually("paper has the light colours", lambda: is_drawn(light))
    visit.page.evaluate("dispatchEvent(new Event('afterprint'))")
    eventually("the charts are dark again", lambda: is_drawn(dark))


def test_a_chart_is_as_wide_as_the_window_lets_it_be(visit: Visit, sample: Sample) -> None:
    sample.main = "<h1>Spend</h1>" + table({f"model-{number}": ["1"] * 30 for number in range(6)})
    visit.see(sample.root)
    wide = visit.page.locator(".chart canvas").bounding_box()
    visit.page.set_viewport_size({"width": 390, "height": 844})
    expect(visit.page.locator(".chart .uplot")).to_have_css("width", "366px")

    assert wide is not None
    assert wide["width"] > 1000
    assert visit.page.evaluate("document.documentElement.scrollWidth") == 390
    assert [] == audit(visit.page)


def test_without_a_script_the_table_is_there(browser: Browser, sample: Sample) -> None:
    sample.main = table({"flux": ["1.25"]})
    with visiting(browser, java_script_enabled=False) as visit:
        visit.page.goto(sample.root)
        expect(visit.page.get_by_role("cell", name="1.25")).to_be_visible()
        expect(visit.page.locator("#live")).to_be_empty()
