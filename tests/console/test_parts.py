"""What pages are made of: that data stays text, and places are where they should be."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from walnut.console.login import login_page
from walnut.console.parts.jsonview import diff_html, json_html, pretty
from walnut.console.parts.timeline import Mark, timeline_html

EVIL = "<script>alert(1)</script>\"'&"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(st.text(), inside, max_size=4),
    max_leaves=20,
)  # fmt: skip
OURS = re.compile(r"</?(?:div|span|details|summary)(?: class=\"[a-z]\"| open)?>")


@given(JSON)
def test_json_of_any_content_holds_no_markup_but_ours(value: object) -> None:
    left = OURS.sub("", json_html(value))
    assert "<" not in left
    assert ">" not in left


def test_json_that_is_nested_without_end_is_still_shown() -> None:
    value: object = 1
    for _ in range(200):
        value = [[value], 2]
    assert json_html(value).count("<details") < 200
    assert pretty(value)


def test_differences_are_text() -> None:
    shown = diff_html("a\nsame", f"{EVIL}\nsame")
    assert "<script>" not in shown
    assert '<div class="was">- a</div>' in shown
    assert '<div class="is">+ &lt;script&gt;' in shown
    assert '<div class="">  same</div>' in shown


def test_the_line_of_time_is_in_proportion_and_its_labels_are_text() -> None:
    shown = timeline_html(0, 1000, (250, 750), [Mark(500, EVIL), Mark(5000, "late")])
    assert 'style="left:25.0%;width:50.0%"' in shown
    assert 'style="left:50.0%"' in shown
    assert 'style="left:100.0%"' in shown  # what is outside is at the end
    assert "<script>" not in shown


def test_the_login_page_tells_errors_as_text_and_loads_nothing() -> None:
    page = login_page(EVIL).decode()
    assert "<script" not in page
    assert 'role="alert"' in page
    assert not re.search(r'(?:src|href)="(?!data:)', page)
    assert "alert" not in login_page().decode()
