"""The console as people use it, in a real browser."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect

from tests.console.conftest import PATIENCE, Visitor

expect.set_options(timeout=PATIENCE)

PAGES = (
    "", "tables", "tables?table=rooms", "tables?table=rooms&key=%22r005%22", "topics",
    "topics?topic=orders", "topics?topic=orders&offset=3", "jobs", "jobs?state=all", "log", "log?lsn=3",
    "slots", "backups", "tokens", "settings", "shutdown",
)  # fmt: skip


# -- coming in, and going -----------------------------------------------------------------------


def test_nobody_sees_a_page_without_logging_in(stranger: Visitor) -> None:
    page = stranger.page
    for path in PAGES:
        page.goto(f"{stranger.served.url}/console/{path}")
        expect(page.get_by_label("Token")).to_be_visible()
        assert "Overview" not in page.content()


def test_a_wrong_token_is_told_and_lets_nobody_in(stranger: Visitor) -> None:
    page = stranger.page
    page.goto(f"{stranger.served.url}/console/tables")
    page.get_by_label("Token").fill("walnut_nobody")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_contain_text("not good")
    page.goto(f"{stranger.served.url}/console/tables")
    expect(page.get_by_label("Token")).to_be_visible()


def test_who_logs_in_gets_to_the_page_that_was_wanted_and_who_logs_out_is_out(
    stranger: Visitor,
) -> None:
    page = stranger.page
    page.goto(f"{stranger.served.url}/console/tables?table=rooms")
    page.get_by_label("Token").fill(stranger.served.tokens["operator"])
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("heading", name="rooms")).to_be_visible()
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_label("Token")).to_be_visible()
    page.goto(f"{stranger.served.url}/console/tables")
    expect(page.get_by_label("Token")).to_be_visible()


def test_a_page_that_is_open_is_cleared_when_its_session_ends(stranger: Visitor) -> None:
    page = stranger.log_in("guest").open("topics?topic=orders")
    expect(page.get_by_text("Messages kept")).to_be_visible()
    stranger.served.do("revoke guest")
    expect(page.get_by_text("Your session has ended")).to_be_visible()
    expect(page.get_by_text("Messages kept")).to_have_count(0)


# -- every page ---------------------------------------------------------------------------------


def test_every_page_shows_also_on_a_phone_and_nothing_comes_from_elsewhere(
    visitor: Visitor,
) -> None:
    page = visitor.page
    page.set_viewport_size({"width": 390, "height": 800})
    for path in PAGES:
        visitor.open(path)
        expect(page.locator("#w-main h1")).to_be_visible()
        expect(page.get_by_text("could not be shown")).to_have_count(0)
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= 390, f"{path} is {wide} pixels wide"
    hosts = {urlsplit(url).netloc for url in visitor.requests if not url.startswith("data:")}
    assert hosts == {urlsplit(visitor.served.url).netloc}
    page.get_by_role("button", name="Menu").click()
    page.get_by_role("navigation").get_by_role("link", name="Tables").click()
    expect(page.get_by_role("heading", name="Tables", exact=True)).to_be_visible()


def test_text_can_be_read_in_both_themes(visitor: Visitor) -> None:
    page = visitor.open("tables")
    for scheme in ("dark", "light"):
        page.evaluate("walnutTheme", scheme)
        colours = page.evaluate(COLOURS)
        assert len(colours) >= 5
        for what, text, ground in colours:
            assert contrast(text, ground) >= 4.5, (scheme, what, text, ground)


COLOURS = """() => [".muted", "#w-main h1", "#w-main p", ".w-menu a[aria-current]", ".w-badge", ".w-main"]
    .map((what) => document.querySelector(what)).filter((e) => e).map((e) => {
        let ground = e;
        while (getComputedStyle(ground).backgroundColor.match(/, 0\\)$/)) ground = ground.parentElement;
        return [e.className, getComputedStyle(e).color, getComputedStyle(ground).backgroundColor];
    })"""


def contrast(one: str, other: str) -> float:
    """The contrast of two colours, by WCAG 2."""

    def light(colour: str) -> float:
        parts = [float(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
        linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((light(one), light(other)))
    return (high + 0.05) / (low + 0.05)


def test_the_keyboard_gets_everywhere(visitor: Visitor) -> None:
    page = visitor.open("")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("Go to the search field")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.keyboard.press("g")
    page.keyboard.press("r")
    expect(page.get_by_role("heading", name="Tables", exact=True)).to_be_visible()
    page.wait_for_selector("a[role=row]")
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="notes")).to_be_visible()
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.name") == "prefix"


# -- rows ---------------------------------------------------------------------------------------


def test_rows_are_browsed_by_key_and_by_index(visitor: Visitor) -> None:
    page = visitor.open("tables?table=rooms")
    rows = page.locator("a[role=row]")
    expect(rows.first).to_contain_text("r000")
    page.get_by_label("Begins with").fill("r05")
    page.get_by_label("Begins with").press("Enter")
    expect(page).to_have_url(
        f"{visitor.served.url}/console/tables?table=rooms&index=&prefix=r05&start=&stop="
    )
    expect(page.get_by_text("No rows there")).to_be_visible()  # a key is not a beginning of text
    visitor.open("tables?table=rooms&start=r050&stop=r053")
    expect(rows).to_have_count(3)
    visitor.open('tables?table=rooms&index=by_hotel&prefix=["h2 Seeblick",2]')
    expect(rows.first).to_contain_text("h2 Seeblick")


def test_more_rows_come_as_one_scrolls(visitor: Visitor) -> None:
    page = visitor.open("tables?table=rooms")
    grid = page.get_by_role("table", name="Rows of rooms")
    for _ in range(3):
        grid.evaluate("grid => grid.scrollTo(0, grid.scrollHeight)")
        page.wait_for_timeout(100)
    expect(page.locator("a[role=row]").last).to_contain_text("r239")
    expect(page.locator("a[role=row]")).to_have_count(240)


def test_a_row_is_edited_by_a_transaction_in_ones_name(visitor: Visitor) -> None:
    page = visitor.open('tables?table=rooms&key="r101"')
    page.get_by_role("button", name="Edit").click()
    area = page.get_by_label("Row, as JSON")
    area.fill(area.input_value().replace('"floor": 2', '"floor": 9'))
    page.get_by_label("Why").fill("moved upstairs")
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".w-json").first).to_contain_text("floor: 9")
    newest = page.locator(".w-version").first
    expect(newest).to_contain_text("token:test-operator")
    expect(newest).to_contain_text("moved upstairs")


def test_what_was_typed_wrongly_is_refused_with_the_reason(visitor: Visitor) -> None:
    page = visitor.open('tables?table=rooms&key="r102"')
    page.get_by_role("button", name="Edit").click()
    page.get_by_label("Row, as JSON").fill('{"id": "r102"}')
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("alert")).to_contain_text("no row of rooms")


def test_a_change_of_somebody_else_is_not_taken_back(visitor: Visitor) -> None:
    page = visitor.open('tables?table=rooms&key="r103"')
    page.get_by_role("button", name="Edit").click()
    area = page.get_by_label("Row, as JSON")
    area.fill(area.input_value().replace('"floor": 2', '"floor": 7'))
    visitor.served.do("edit r103")
    page.get_by_role("button", name="Save").click()
    expect(page.locator("[role=alert]", has_text="changed by somebody else")).to_be_visible()
    expect(page.locator(".w-diff")).to_contain_text("changed by ben")
    page.get_by_role("button", name="Start over").click()
    expect(area).to_have_value(re.compile("changed by ben"))
    area.fill(area.input_value().replace('"floor": 2', '"floor": 7'))
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".w-json").first).to_contain_text("floor: 7")
    expect(page.locator(".w-json").first).to_contain_text("changed by ben")


def test_a_row_is_deleted_after_asking_and_brought_back(visitor: Visitor) -> None:
    page = visitor.open('tables?table=rooms&key="r104"')
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.get_by_text("Not there")).to_be_visible()
    version = page.locator(".w-version", has_text="as now")
    expect(version).to_have_count(0)
    page.locator(".w-version").nth(1).locator(".q-item").click()
    page.get_by_role("button", name="Bring this back").click()
    expect(page.locator(".w-json").first).to_contain_text('id: "r104"')


def test_a_table_of_documents_is_made_with_its_first_row(visitor: Visitor) -> None:
    page = visitor.open("tables")
    page.get_by_role("button", name="New table").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Table", exact=True).fill("guests")
    dialog.get_by_label("Key of the first row").fill("g1")
    dialog.get_by_label("Its value, as JSON").fill('{"name": "<img src=x onerror=alert(1)>"}')
    dialog.get_by_role("button", name="Make table").click()
    expect(page.get_by_role("heading", name="guests")).to_be_visible()
    # What a row holds is text, wherever it is shown.
    expect(page.locator("a[role=row]")).to_contain_text("<img src=x onerror=alert(1)>")
    page.locator("a[role=row]").click()
    expect(page.locator(".w-json").first).to_contain_text("<img src=x onerror=alert(1)>")
    assert page.locator("#w-main img").count() == 0


# -- the log ------------------------------------------------------------------------------------


def test_the_log_is_followed_while_others_write(visitor: Visitor) -> None:
    page = visitor.open("log")
    first = page.locator("a[role=row]").first
    before = first.inner_text()
    page.get_by_role("switch", name="Follow").click()
    visitor.served.do("write 3")
    expect(page.locator("a[role=row].new")).to_have_count(3)
    assert first.inner_text() != before
    expect(first).to_contain_text("a new price")


def test_a_record_says_who_did_what_and_why(visitor: Visitor) -> None:
    visitor.served.do("write 1")
    page = visitor.open("log")
    page.locator("a[role=row]", has_text="a new price").first.click()
    expect(page.locator(".w-pairs").first).to_contain_text("req-")
    expect(page.locator(".w-diff .was")).to_contain_text("price")
    expect(page.locator(".w-diff .is")).to_contain_text("price")


def test_an_lsn_and_a_time_are_found(visitor: Visitor) -> None:
    page = visitor.open("log")
    page.get_by_label("Find an LSN or a time").fill("12")
    page.get_by_label("Find an LSN or a time").press("Enter")
    expect(page.locator("a[role=row]").first).to_have_attribute("aria-label", "Record 12")
    visitor.open("log?find=1h%20ago")
    expect(page.get_by_text("LSN 1 is the first")).to_be_visible()
    visitor.open("log?find=sometime")
    expect(page.get_by_text("neither an LSN nor a time")).to_be_visible()


# -- topics, jobs, tokens, backups --------------------------------------------------------------


def test_a_topic_is_made_appended_to_and_followed(visitor: Visitor) -> None:
    page = visitor.open("topics")
    page.get_by_role("button", name="New topic").click()
    page.get_by_label("Name").fill("events")
    page.get_by_role("button", name="Make topic").click()
    expect(page.get_by_text("No messages here")).to_be_visible()
    page.get_by_role("switch", name="Follow").click()
    page.get_by_role("button", name="Append").click()
    page.get_by_label("Value").fill('{"hello": "world"}')
    page.get_by_role("dialog").get_by_role("button", name="Append").click()
    row = page.locator("a[role=row]").first
    expect(row).to_contain_text('{"hello": "world"}')
    row.click()
    expect(page.locator(".w-json")).to_contain_text('hello: "world"')


def test_a_topic_is_followed_while_others_append(visitor: Visitor) -> None:
    page = visitor.open("topics?topic=orders")
    page.get_by_role("switch", name="Follow").click()
    visitor.served.do("append 2")
    expect(page.locator("a[role=row].new")).to_have_count(2)


def test_a_dead_letter_is_retried(visitor: Visitor) -> None:
    page = visitor.open("jobs")
    page.locator("a[role=row]", has_text="invoice 3 has no address").click()
    page.get_by_role("button", name="Retry").click()
    expect(page.get_by_text("2, of which 1 failed")).to_be_visible()


def test_a_token_is_shown_once_and_lets_in_until_it_is_revoked(
    visitor: Visitor, stranger: Visitor
) -> None:
    page = visitor.open("tokens")
    page.get_by_role("button", name="New token").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name").fill("made-here")
    dialog.get_by_label("Scopes").fill("tables:read")
    dialog.get_by_role("button", name="Make token").click()
    text = page.locator(".w-secret").inner_text()
    page.get_by_role("button", name="I have it").click()
    expect(page.locator("a[role=row]", has_text="made-here")).to_be_visible()
    assert text not in page.content()

    visitor.served.tokens["made-here"] = text
    stranger.log_in("made-here")
    page.locator("a[role=row]", has_text="made-here").click()
    page.get_by_role("button", name="Revoke").click()
    page.get_by_label("Type made-here to go on").fill("made-here")
    page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    expect(stranger.page.get_by_text("Your session has ended")).to_be_visible()


def test_a_backup_is_made_and_its_restore_point_shown(visitor: Visitor) -> None:
    page = visitor.open("backups")
    page.get_by_role("button", name="Back up now").click()
    expect(page.get_by_text("Restorable")).to_be_visible()
    expect(page.locator(".w-badge.good", has_text="done")).to_be_visible()
    assert page.locator(".w-time .mark").count() >= 1


# -- scopes -------------------------------------------------------------------------------------


def test_scripts_are_kept_by_browsers_and_pages_are_not(visitor: Visitor) -> None:
    kept: dict[str, str] = {}
    visitor.page.on(
        "response",
        lambda answer: kept.update({answer.url: answer.headers.get("cache-control", "")}),
    )
    page = visitor.open("slots")
    assert kept[page.url] == "no-store"
    scripts = [url for url in kept if "/_nicegui/" in url]
    assert scripts
    assert all("immutable" in kept[url] and "private" in kept[url] for url in scripts)


@pytest.mark.parametrize("visitor", ["reader"], indirect=True)
def test_who_may_only_read_sees_no_more_and_changes_nothing(visitor: Visitor) -> None:
    page = visitor.open("tables")
    expect(page.get_by_role("navigation").get_by_role("link")).to_have_text(
        ["table_rowsTables", "receipt_longLog", "bookmarkSlots"]
    )
    assert page.get_by_role("button", name="New table").count() == 0
    visitor.open('tables?table=rooms&key="r001"')
    assert page.get_by_role("button", name="Edit").count() == 0
    for path in ("", "tokens", "topics", "shutdown"):
        visitor.open(path)
        expect(page.get_by_text("You may not see")).to_be_visible()


@pytest.mark.parametrize("visitor", ["reader"], indirect=True)
def test_tables_of_the_server_itself_are_for_administrators(visitor: Visitor) -> None:
    page = visitor.open("tables?table=server.tokens")
    expect(page.get_by_text("takes the scope")).to_be_visible()
    assert "walnut_" not in page.content()


@pytest.mark.parametrize("visitor", ["notes"], indirect=True)
def test_a_scope_for_one_table_is_for_that_alone(visitor: Visitor) -> None:
    page = visitor.open('tables?table=rooms&key="r001"')
    assert page.get_by_role("button", name="Edit").count() == 0
    visitor.open('tables?table=notes&key="n1"')
    page.get_by_role("button", name="Edit").click()
    area = page.get_by_label("Row, as JSON")
    area.fill(area.input_value().replace('"done": false', '"done": true'))
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".w-json").first).to_contain_text("done: true")
