"""The page in a real Chromium: look, filter, drill down, go back; with a keyboard, without a script, on paper."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from pixelmeter import Budget
from pixelmeter.ledger.writer import open_writer
from tests.serve.browser.chromium import Visit, audit, visiting
from tests.serve.browser.serving import HOSTILE, attempt, write
from tests.serve.server import Server, serving

pytestmark = pytest.mark.slow

FLUX, GPT = "black-forest-labs/flux-2-pro", "openai/gpt-image-2"
CALL = "0194b3f2-0000-7000-8000-000000000001"
PATHS = (
    "/",
    "/?model=flux*&tz=Asia/Kolkata",
    "/calls?sort=cost",
    f"/calls/{CALL}",
    "/budgets",
    "/reconciliation",
    "/health",
    "/runbooks/",
    "/runbooks/PixelmeterThrottled.md",
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A page on six days of calls: $0.75 of one model, $2.50 of another, a call of two attempts, unknown costs."""
    url = f"sqlite:///{tmp_path_factory.mktemp('page')}/ledger.db"
    flux = [
        attempt(24 * day + 2, model=FLUX, requested_model=FLUX, cost=250_000_000, tags='{"team":"growth"}')
        for day in (1, 2, 3)
    ]
    gpt = [attempt(24 * day + 3, model=GPT, cost=500_000_000, tags='{"team":"catalog"}') for day in (1, 2, 3, 4, 5)]
    unknown = {"cost": None, "cost_source": "none", "cost_reason": "outcome_unknown", "billing": "unknown"}
    first = attempt(
        30, id=CALL, call_id=CALL, outcome="timeout", status=None, at_risk=40_000_000, images=None, tags="{}", **unknown
    )
    second = attempt(29, call_id=CALL, attempt=1, cost=0, tags="{}")
    write(url, *flux, *gpt, first, second)
    with serving(url, is_metrics=False) as started:
        yield started


def card(page: Page, title: str) -> str:
    return page.locator(".cards > div", has=page.get_by_text(title, exact=True)).locator(".big").inner_text()


def test_the_first_look_has_the_sums_and_a_chart(visit: Visit, server: Server) -> None:
    visit.see(server.root)

    assert "$3.2500" == card(visit.page, "Known cost of the range")
    expect(visit.page.get_by_role("heading", level=1)).to_have_text("Spend")
    expect(visit.page.locator("#over-time .chart canvas")).to_be_visible()
    expect(visit.page.get_by_text("All times are in UTC.")).to_be_visible()


def test_a_filter_is_in_the_address_and_can_be_taken_off(visit: Visit, server: Server) -> None:
    page = visit.page
    visit.see(server.root)
    page.get_by_text("Filters", exact=True).click()
    page.get_by_label("Model", exact=True).fill("black-forest-labs/*")
    page.get_by_role("button", name="Filter").click()

    page.wait_for_url(lambda url: "model=black-forest-labs%2F*" in url)
    assert "outcome=" not in page.url
    assert "$0.7500" == card(page, "Known cost of the range")
    page.get_by_role("link", name=re.compile("^Remove filter model")).click()
    page.wait_for_url(lambda url: "model=" not in url)
    assert "$3.2500" == card(page, "Known cost of the range")


def test_a_number_leads_to_its_attempts_an_attempt_to_its_call_and_back(visit: Visit, server: Server) -> None:
    page = visit.page
    visit.see(f"{server.root}/?tz=Asia/Kolkata")
    page.locator("#models").get_by_role("row", name=re.compile("gpt-image-2")).get_by_role(
        "link", name="$2.5000"
    ).click()
    page.wait_for_url("**/calls?**")
    sum_of_rows = page.locator("#sum")
    expect(sum_of_rows).to_contain_text("$2.5000")
    expect(sum_of_rows).to_contain_text("Asia/Kolkata")
    rows = page.locator("main tbody tr")
    expect(rows.filter(has_text="$0.5000")).to_have_count(5)
    rows.filter(has_text="timeout").get_by_role("link").first.click()
    page.wait_for_url(f"**/calls/{CALL}*")
    expect(page.get_by_text("timeout").first).to_be_visible()

    page.go_back()
    expect(sum_of_rows).to_contain_text("$2.5000")
    page.go_back()
    page.wait_for_url("**/?tz=Asia/Kolkata")
    assert "$3.2500" == card(page, "Known cost of the range")


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (390, "dark")])
def test_every_page_can_be_read_by_everybody(browser: Browser, server: Server, width: int, scheme: str) -> None:
    with visiting(browser, viewport={"width": width, "height": 844}, color_scheme=scheme) as visit:
        for path in PATHS:
            visit.see(f"{server.root}{path}")
            assert [] == audit(visit.page), path
            assert visit.page.evaluate("document.documentElement.scrollWidth") <= width, path
        assert [] == visit.errors
        visit.see(f"{server.root}/nowhere")
        assert [] == audit(visit.page)
        assert ["404" in error for error in visit.errors] == [True]


def test_no_two_parts_of_a_page_have_one_id(visit: Visit, server: Server) -> None:
    for path in PATHS:
        visit.see(f"{server.root}{path}")
        ids = visit.page.evaluate("[...document.querySelectorAll('[id]')].map((part) => part.id)")
        assert [] == sorted({one for one in ids if ids.count(one) > 1}), path


def test_on_a_phone_what_a_model_cost_is_seen_at_once(browser: Browser, server: Server) -> None:
    with visiting(browser, viewport={"width": 390, "height": 844}) as visit:
        visit.see(server.root)
        place = visit.page.get_by_role("row", name=re.compile("flux-2-pro")).get_by_role("link", name="$0.7500")
        box = place.last.bounding_box()

        assert box is not None
        assert box["x"] + box["width"] <= 390


def test_the_table_of_budgets_is_not_cut_off(visit: Visit, sqlite_url: str) -> None:
    write(sqlite_url, attempt(1, cost=326_641_200_000), attempt(0.5, cost=None, at_risk=11_030_000_000))
    with closing(open_writer(sqlite_url)) as writer:
        writer.register([Budget(4_000, name="all images", per="total").rule], time.time_ns() // 1000)
    with serving(sqlite_url, is_metrics=False) as server:
        visit.see(f"{server.root}/budgets")
        table = visit.page.locator(".scroll").first

        expect(table.get_by_role("columnheader", name="Unknown cost")).to_be_visible()
        assert table.evaluate("(region) => region.scrollWidth - region.clientWidth") <= 0


@pytest.mark.parametrize("path", ["/", "/calls"])
def test_new_attempts_appear_by_themselves(visit: Visit, ledger_url: str, path: str) -> None:
    write(ledger_url, attempt(1, model=FLUX, cost=1_000_000_000))
    with serving(ledger_url, is_metrics=False) as server:
        visit.see(f"{server.root}{path}")
        visit.page.evaluate("window.isSame = true")
        shown = visit.page.locator("main")
        expect(shown).not_to_contain_text("$1.2500")
        write(ledger_url, attempt(0.1, model=GPT, cost=250_000_000))

        expect(shown).to_contain_text("$1.2500")
        expect(visit.page.get_by_role("status")).to_contain_text("The figures were updated")
        assert visit.page.evaluate("window.isSame")
        assert (0, "") == server.stop()


def test_a_keyboard_is_enough(visit: Visit, server: Server) -> None:
    page = visit.page
    visit.see(server.root)
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Today")).to_be_focused()

    for _ in range(30):
        page.keyboard.press("Tab")
        if page.locator(":focus").inner_text() == "Filters":
            break
    page.keyboard.press("Enter")
    while page.locator(":focus").get_attribute("name") != "model":
        page.keyboard.press("Tab")
    page.keyboard.type("openai/*")
    page.keyboard.press("Enter")
    page.wait_for_url("**model=openai%2F**")
    page.locator("#models tbody a").first.focus()
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert "solid" == outline
    # Whatever scrolls is reached, and moved by arrows.
    region = page.locator("#over-time .scroll")
    region.focus()
    expect(region).to_be_focused()


def test_names_from_outside_are_text_on_every_page(visit: Visit, sqlite_url: str) -> None:
    tags = '{"team":"<script>alert(3)</script>","x\\"onload=alert(4)":"</td>"}'
    hostile = attempt(
        1,
        model=HOSTILE,
        requested_model=HOSTILE,
        gateway="<b>gw</b>",
        error_type="<i>e</i>",
        id=CALL,
        call_id=CALL,
        tags=tags,
    )
    write(sqlite_url, hostile)
    dialogs: list[str] = []
    visit.page.on("dialog", lambda dialog: dialogs.append(dialog.message))
    with serving(sqlite_url, is_metrics=False) as server:
        for path in ("/", "/?tags=team", "/calls", f"/calls/{CALL}", "/health", "/budgets"):
            visit.see(f"{server.root}{path}")
            if path in ("/", "/calls", f"/calls/{CALL}"):
                expect(visit.page.get_by_text(HOSTILE).first).to_be_visible()
            assert 0 == visit.page.locator("main :is(img, script, b:not(.tip b), i), [onload], [onerror]").count()
        visit.see(server.root)
        visit.page.locator("#over-time .u-over").hover()
        visit.page.locator("#models").get_by_role("link", name=HOSTILE).first.click()
        expect(visit.page.get_by_text(HOSTILE).first).to_be_visible()
    assert [] == dialogs


def test_a_wrong_token_is_refused_and_the_right_one_lets_the_updates_in_too(
    browser: Browser, sqlite_url: str, tmp_path: Path
) -> None:
    write(sqlite_url, attempt(1, cost=1_000_000_000))
    (tmp_path / "token").write_text("open-sesame")
    with serving(sqlite_url, "--token-file", str(tmp_path / "token"), is_metrics=False) as server:
        for credentials in (None, {"username": "me", "password": "open"}):
            with visiting(browser, http_credentials=credentials) as visit:
                for path in ("/", "/calls", "/static/page.js"):
                    answer = visit.context.request.get(f"{server.root}{path}")
                    assert 401 == answer.status
                    assert "$1" not in answer.text()
        with visiting(browser, http_credentials={"username": "me", "password": "open-sesame"}) as visit:
            visit.see(server.root)
            expect(visit.page.locator("main")).to_contain_text("$1.0000")
            write(sqlite_url, attempt(0.1, cost=250_000_000))
            expect(visit.page.locator("main")).to_contain_text("$1.2500")
            assert [] == visit.errors


def test_without_a_script_everything_can_be_read_filtered_and_followed(browser: Browser, server: Server) -> None:
    with visiting(browser, java_script_enabled=False) as visit:
        page = visit.page
        page.goto(server.root)
        assert "$3.2500" == card(page, "Known cost of the range")
        expect(page.locator("#over-time table")).to_be_visible()
        page.get_by_text("Filters", exact=True).click()
        page.get_by_label("Model", exact=True).fill("black-forest-labs/*")
        page.get_by_role("button", name="Filter").click()
        assert "$0.7500" == card(page, "Known cost of the range")
        page.locator("#models tbody").get_by_role("link", name="$0.7500").click()
        expect(page.locator("main tbody tr")).to_have_count(3)
        page.locator("main tbody tr").first.get_by_role("link").first.click()
        expect(page.get_by_text("$0.2500").first).to_be_visible()


def test_on_paper_tables_are_whole_and_what_is_clicked_is_left_out(visit: Visit, server: Server) -> None:
    visit.see(server.root)
    visit.page.emulate_media(media="print")
    region = visit.page.locator("#over-time .scroll")
    assert region.evaluate("(region) => region.scrollHeight <= region.clientHeight + 1")
    expect(visit.page.get_by_role("navigation").first).to_be_hidden()
    expect(visit.page.locator("#live")).to_be_hidden()
    assert visit.page.pdf().startswith(b"%PDF-")
