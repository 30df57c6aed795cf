"""A study's page in a real browser: nothing of the data runs, nothing is asked of the network, it fits and prints."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from polyhead.errors import PolyheadError
from polyhead.reporting.study_page import LivePage, study_report
from polyhead.studies import answers
from polyhead.studies.words import NAMES, headline
from studies.simulated import STARTS, simulate

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NASTY = '</style><script>document.title="x"</script><img src=x onerror=alert(1)>$&"'
"""What a way is called here: a recipe takes no such names for tasks, but a page must not rely on that."""

WIDTHS = (375, 1440)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a study that is not finished, with a way of a hostile name, and a source that harms."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(NAMES, "lora", NASTY)
        ways = ("scratch", "fine-tuned", "from:pos", "from:syntax", "lora")
        return study_report(simulate(tmp_path_factory.mktemp("page"), ways=ways, unfinished=3))


@pytest.fixture(params=WIDTHS)
def page(request: pytest.FixtureRequest, browser: Browser, path: Path) -> Iterator[Page]:
    opened = browser.new_page(viewport={"width": request.param, "height": 900})
    opened.set_default_timeout(120_000)
    opened.said = []  # type: ignore[attr-defined]
    opened.on("console", lambda message: opened.said.append(message.text))  # type: ignore[attr-defined]
    opened.on("pageerror", lambda error: opened.said.append(str(error)))  # type: ignore[attr-defined]
    opened.on("dialog", lambda dialog: opened.said.append(dialog.message))  # type: ignore[attr-defined]
    opened.on("request", lambda asked: opened.said.append(asked.url))  # type: ignore[attr-defined]
    opened.goto(path.as_uri())
    yield opened
    opened.close()


def test_nothing_of_the_data_runs_and_nothing_is_asked_of_the_network(page: Page, path: Path) -> None:
    assert page.said == [path.as_uri()]  # type: ignore[attr-defined]
    assert page.title() == "What did transfer buy for mood?"
    assert page.locator("script, img, link, iframe, object, [onerror]").count() == 0
    assert page.get_by_text("<script>alert(1)</script> Out of memory & more.").is_visible()
    assert NASTY in page.locator("tbody th").all_inner_texts()[4]


def test_it_fits_its_window(page: Page) -> None:
    width, window = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert width == window
    outside = page.evaluate(
        """() => [...document.querySelectorAll('main *')].filter(one => !one.closest('.scroll') && !one.closest('svg')
        && one.getBoundingClientRect().right > innerWidth + 1).map(one => one.outerHTML.slice(0, 80))"""
    )
    assert outside == []
    shown = page.locator("figure svg:visible").count()
    assert shown == page.locator("figure").count() == 5, "each picture once, for this width"
    letters = page.evaluate(
        """() => [...document.querySelectorAll('figure svg')].filter(one => one.checkVisibility()).flatMap(svg =>
        [...svg.querySelectorAll('text')].map(text => parseFloat(getComputedStyle(text).fontSize)
        * svg.getScreenCTM().a))"""
    )
    assert min(letters) > 9, "in pixels of the screen"


def test_wide_tables_scroll_inside_and_by_the_keyboard(page: Page) -> None:
    boxes = page.locator(".scroll")
    for box in boxes.all():
        assert box.get_attribute("tabindex") == "0" and box.get_attribute("aria-label")
    if page.viewport_size is not None and page.viewport_size["width"] == WIDTHS[0]:
        hidden = boxes.evaluate_all("all => all.filter(one => one.scrollWidth > one.clientWidth).length")
        assert hidden > 0


def test_it_can_be_read_by_a_screen_reader(page: Page) -> None:
    levels = page.locator("h1, h2, h3, h4").evaluate_all("all => all.map(one => Number(one.tagName[1]))")
    assert levels[0] == 1 and levels.count(1) == 1 and all(b - a <= 1 for a, b in pairwise(levels))
    assert page.locator("th:not([scope])").count() == 0 and page.locator("table:not(:has(caption))").count() == 0
    told = page.locator("figure svg").evaluate_all("all => all.map(one => [one.role, one.ariaLabel.length])")
    assert told and all(role == "img" and length > 40 for role, length in told)
    names = page.evaluate("[...document.querySelectorAll('[id]')].map(one => one.id)")
    assert len(names) == len(set(names))
    for link in page.locator("a").all():
        assert page.locator(link.get_attribute("href") or "").count() == 1


CONTRAST = """() => {
  const light = colour => { const [r, g, b] = colour.match(/[\\d.]+/g)
      .slice(0, 3).map(x => x / 255)
      .map(x => x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4);
      return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const behind = one => { for (; one; one = one.parentElement) { const found = getComputedStyle(one).backgroundColor;
      if (!/, 0\\)$/.test(found)) return found; } return 'rgb(255, 255, 255)'; };
  const texts = document.createTreeWalker(document.querySelector('main'), NodeFilter.SHOW_TEXT); const found = [];
  while (texts.nextNode()) { const one = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || one.closest('svg') || !one.checkVisibility()) continue;
    const [a, b] = [light(getComputedStyle(one).color), light(behind(one))].sort();
    found.push((b + 0.05) / (a + 0.05)); }
  return Math.min(...found); }"""


def test_its_text_stands_out(page: Page) -> None:
    """Contrast as WCAG 2.2 computes it; 7 is its level AAA."""
    assert page.evaluate(CONTRAST) >= 7


def test_it_prints(page: Page) -> None:
    page.emulate_media(media="print")
    printed = page.pdf(format="A4")
    assert printed.startswith(b"%PDF") and 2 <= len(re.findall(rb"/Type\s*/Page\b", printed)) <= 12
    cut = page.locator(".scroll").evaluate_all("all => all.filter(one => getComputedStyle(one).overflowX != 'visible')")
    assert cut == [] and not page.locator("nav").is_visible() and page.locator(".wide svg").first.is_visible()


def test_lines_differ_without_colour(path: Path) -> None:
    """The legend of the first picture: each line has its own dashes and its own mark."""
    text = path.read_text(encoding="utf-8")
    first = text[text.index("<figure") : text.index("</figure>")]
    wide = first[: first.index('class="narrow"')]
    legend = wide[wide.index("-legend_1") :]
    dashes = re.findall(r'<path d="[^"]+" style="[^"]*?(stroke-dasharray: [^;]+;|stroke-linecap: square)', legend)
    marks = {re.sub(r"#p\w+-", "", mark) for mark in re.findall(r'<use xlink:href="([^"]+)"', legend)}
    assert len(set(dashes)) == 4 and len(marks) >= 4


def test_it_says_that_it_is_unfinished_what_failed_and_what_harms(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert "Unfinished: 72 of 75 runs." in text and "1 run ended in an error" in text
    assert "Negative transfer:" in text and "▼" in text
    assert "the data cannot tell" in text


def test_figures_stay_where_they_can_be_and_the_first_line_answers(tmp_path: Path) -> None:
    high = dict.fromkeys(STARTS, 9.0)
    made = simulate(tmp_path, ways=("scratch", "fine-tuned"), sizes=(10, 20), seeds=(1, 2), examples=12, starts=high)
    found = answers(made)
    assert found is not None
    ends = [end for one in found.means.values() for end in (one.low, one.high)]
    ends += [end for one in found.verdicts for end in (one.estimate.low + 1, one.estimate.high)]
    assert all(0 <= end <= 1 for end in ends) and max(ends) == 1
    text = study_report(made).read_text(encoding="utf-8")
    lead = re.findall(r'<p class="lead">(.*?)</p>', text)
    assert lead == [headline(found)] and not re.search(
        r"\b1\d\d\.\d\d\b(?<!100\.00)", re.sub(r"(?s)<svg.*?</svg>", "", text)
    )


def test_minutes_of_a_small_study_are_no_zeros(tmp_path: Path) -> None:
    made = simulate(tmp_path, ways=("fine-tuned", "joint"), sizes=(2, 4), seeds=(1, 2))
    text = study_report(made).read_text(encoding="utf-8")
    minutes = text[text.index("<h3>Minutes</h3>") : text.index("<h3>Can the data")]
    shown = re.findall(r"<td>([\d.]+)", minutes)
    assert len(shown) > 4 and all(float(one) > 0 for one in shown)


def test_the_same_study_gives_the_same_page(tmp_path: Path) -> None:
    made = simulate(tmp_path, ways=("fine-tuned", "joint"), sizes=(10, 50), seeds=(1,))
    one = study_report(made).read_bytes()
    assert study_report(made, tmp_path / "other.html").read_bytes() == one


def test_the_page_follows_a_study_and_its_absence_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = simulate(tmp_path, ways=("fine-tuned",), sizes=(10,), seeds=(1, 2), unfinished=0)
    said: list[str] = []
    live = LivePage(said.append)
    assert live.finish() is None, "no study was seen"
    live(made)
    page = made.folder / "report.html"
    assert said == [f"what there is so far is in {page}"]
    page.unlink()
    live(made)
    assert not page.exists(), "it was written a moment ago"
    assert live.finish() == page and page.exists() and len(said) == 1

    def fail(*_: Any, **__: Any) -> None:
        raise PolyheadError("Reports need matplotlib.", remedy="Install it.")

    monkeypatch.setattr("polyhead.reporting.study_page.study_report", fail)
    other = LivePage(said.append)
    other(made)
    other(made)
    assert other.finish() is None and len(said) == 2 and "no page is written" in said[1]
