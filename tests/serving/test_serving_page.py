"""The server's page in a real browser: nothing of a text runs, nothing is loaded from elsewhere, all can use it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from polyhead.serving.metrics import Metrics
from polyhead.serving.models import Models
from polyhead.serving.questions import Answer, Group, Head, Question, Wish
from polyhead.serving.server import Server, address_of, listen
from polyhead.serving.settings import Settings
from serving.stub import Stub, StubWorker, shown

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

WIDTHS = (375, 1440)
NASTY = "<img src=x onerror=alert(1)></script><script>document.title='x'</script>"
TEXT = f"Maria flew to New York {NASTY} & 👩‍🚀 sang ."
HEADS = [
    *(Head("pos", "upos", "words", False), Head("syntax", "tree", "tree", False)),
    *(Head("ner", "entities", "spans", False), Head("longer", "phrases", "spans", False)),
    *(Head("mood", "sentiment", "label", False), Head("topics", "topics", "labels", False)),
    *(Head("stars", "stars", "number", False), Head("fr", "target", "text", True)),
]


class Answering(StubWorker):
    """Answers with every kind of value; labels, relations and texts are as hostile as the text."""

    heads = HEADS

    def _answer(self, wish: Wish, question: Question) -> Answer:
        text = shown(question)
        if wish.format == "conllu":
            return f"# text = {text}\n\n".encode()
        wanted = {head.layer for head in HEADS if wish.tasks is None or head.task in wish.tasks}
        sentences = [
            {key: value for key, value in sentence(one).items() if key.partition("_")[0] in wanted | {"text", "words"}}
            for one in text.split(" | ")
        ]
        whole = {"sentiment": "good", "sentiment_confidence": 0.85, "topics": ["a", NASTY], "stars": 3.5}
        record = {"text": text, "sentences": sentences}
        record |= {key: value for key, value in whole.items() if key.partition("_")[0] in wanted}
        return json.dumps(record).encode()


def sentence(text: str) -> dict[str, Any]:
    words = text.split()
    signs = text.index("New York") if "New York" in text else 0
    return {
        "text": text,
        "words": words,
        "upos": ["NOUN"] * len(words),
        "upos_confidence": [0.9] * len(words),
        "tree": {"heads": [0, *range(1, len(words))], "relations": ["root", *["<b>dep</b>"] * (len(words) - 1)]},
        "tree_confidence": [0.4] * len(words),
        "entities": [{"start": signs, "end": signs + 8, "label": NASTY, "confidence": 0.7}],
        "phrases": [{"start": 0, "end": len(text), "label": "ALL", "confidence": 0.5}],
        "target": f"FR {text}",
        "target_confidence": 0.6,
    }


class Served(Stub):
    async def start(self, place: str, threads: int | None) -> Answering:
        return Answering(self, 1)

    def asked(self) -> Group:
        return list(self.batches[-1])[-1]


@contextmanager
def serving(stub: Served, names: Sequence[str] = ("one",), **settings: Any) -> Iterator[str]:
    """A server in a thread; yields its address."""
    chosen = Settings(**{"port": 0, "grace": 1.0, **settings})
    listening = listen(chosen)
    begun = threading.Event()
    found: dict[str, Any] = {}

    async def run() -> None:
        metrics = Metrics()
        models = Models({name: name for name in names}, chosen, metrics, stub.start)
        await models.begin()
        found["server"] = Server(models, chosen, metrics, lambda: None)
        found["loop"] = asyncio.get_running_loop()
        begun.set()
        await found["server"].serve(sockets=[listening])
        await models.end()

    address = address_of(listening)
    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    begun.wait(60)
    yield address
    found["loop"].call_soon_threadsafe(found["server"].stop)
    thread.join(60)


@pytest.fixture(scope="module")
def stub() -> Served:
    return Served()


@pytest.fixture(scope="module")
def address(stub: Served) -> Iterator[str]:
    with serving(stub, ("one", "two"), text_characters=5_000) as found:
        yield found


@contextmanager
def opened(browser: Browser, url: str, width: int = WIDTHS[1], **context: Any) -> Iterator[Page]:
    """A page, with all that it says or asks for in ``page.said``."""
    around: BrowserContext = browser.new_context(viewport={"width": width, "height": 900}, **context)
    page = around.new_page()
    page.set_default_timeout(60_000)
    page.said = []  # type: ignore[attr-defined]
    page.on("console", lambda message: page.said.append(message.text))  # type: ignore[attr-defined]
    page.on("pageerror", lambda error: page.said.append(str(error)))  # type: ignore[attr-defined]
    page.on("dialog", lambda dialog: page.said.append(dialog.message))  # type: ignore[attr-defined]
    page.on("request", lambda asked: page.said.append(asked.url))  # type: ignore[attr-defined]
    page.goto(url)
    page.locator("#heads input, .operation, #key-form:visible").first.wait_for()
    yield page
    around.close()


@pytest.fixture(params=WIDTHS)
def page(request: pytest.FixtureRequest, browser: Browser, address: str) -> Iterator[Page]:
    with opened(browser, address, request.param) as found:
        yield found


def annotate(page: Page, text: str = TEXT) -> None:
    page.fill("#text", text)
    page.click("#go")
    page.locator(".actions").wait_for()


def test_nothing_of_a_text_runs_and_nothing_is_loaded_from_elsewhere(page: Page, address: str) -> None:
    annotate(page)
    said = page.said  # type: ignore[attr-defined]
    assert all(one.startswith(f"{address}/") for one in said), said
    assert all("Maria" not in one for one in said), "the link's text is sent to nobody"
    assert page.title() == "polyhead: try a model"
    assert page.locator("#results script, #results img, #results b, [onerror]").count() == 0
    assert NASTY in page.locator(".marked").first.inner_text()
    assert NASTY in page.locator(".entity .tag").first.inner_text()
    assert page.locator("svg text", has_text="<b>dep</b>").count() > 0


def test_it_fits_its_window(page: Page) -> None:
    annotate(page, TEXT + " word" * 80)
    width, window = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert width == window
    outside = page.evaluate(
        """() => [...document.querySelectorAll('body *')].filter(one => !one.closest('.scroll') && !one.closest('svg')
        && !one.closest('.skip') && one.getBoundingClientRect().right > innerWidth + 1)
        .map(one => one.outerHTML.slice(0, 80))"""
    )
    assert outside == []


def test_the_keyboard_is_enough(page: Page) -> None:
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.focus("#text")
    page.keyboard.type("Ann saw Bob")
    page.keyboard.press("Control+Enter")
    page.locator(".actions").wait_for()
    reached = set()
    page.focus("#text")
    for _ in range(60):
        page.keyboard.press("Tab")
        found = page.evaluate(
            "() => { const one = document.activeElement; return [one.tagName + '.' + one.className + '#' + one.id,"
            " getComputedStyle(one).outlineStyle, one.closest('.chip') !== null]; }"
        )
        assert found[1] != "none" or found[2] or found[0].startswith("BODY"), f"no mark of the focus: {found[0]}"
        reached.add(found[0])
    for wanted in ("BUTTON.primary#go", "INPUT.#split", "SUMMARY.#", "DIV.scroll tree-box#", "BUTTON.quiet#"):
        assert wanted in reached


def test_it_can_be_read_by_a_screen_reader(page: Page) -> None:
    annotate(page, "Ann saw Bob | Bob left")
    levels = page.locator("h1:visible, h2:visible, h3:visible").evaluate_all("all => all.map(one => +one.tagName[1])")
    assert levels[0] == 1 and levels.count(1) == 1
    assert page.locator("#status").get_attribute("aria-live") == "polite"
    assert "2 sentences" in page.locator("#status").inner_text()
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll('input, textarea, select, button')].filter(one =>
        !one.labels?.length && !one.ariaLabel && !one.textContent.trim()).map(one => one.outerHTML)"""
    )
    assert unnamed == []
    for svg in page.locator("svg.tree").all():
        assert svg.get_attribute("role") == "img" and "table" in (svg.get_attribute("aria-label") or "")
    page.locator("summary").first.click()
    table = page.locator("table").first
    assert table.locator("tbody tr").count() == 3 and table.locator("th:not([scope])").count() == 0
    assert table.locator("tbody tr").nth(1).inner_text().split() == ["2", "saw", "NOUN", "1", "Ann", "<b>dep</b>"]
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map(one => one.id)")
    assert len(ids) == len(set(ids))


def test_marks_stand_at_the_right_signs(page: Page) -> None:
    annotate(page, "👩‍🚀 🎉 New York 🎉 | and 🎉 New York")
    first, second = page.locator("section[aria-label^='Text with entities'] .entity").all()
    for one in (first, second):
        assert one.inner_text().startswith("New York\u00a0")
    whole = page.locator("section[aria-label^='Text with entities'] .marked")
    assert (
        whole.evaluate(
            "one => { for (const tag of one.querySelectorAll('.tag')) tag.remove(); return one.textContent; }"
        )
        == "👩‍🚀 🎉 New York 🎉 | and 🎉 New York"
    )
    assert page.locator("section[aria-label^='Text with phrases'] .entity").count() == 2, "another layer, apart"


def test_bars_numbers_and_written_texts(page: Page) -> None:
    annotate(page, "Ann saw Bob")
    bars = page.locator(".card > .bars").first
    assert bars.locator(".bar").count() == 3
    assert bars.locator(".figure").first.inner_text() == "85\u00a0%"
    track, filled = (bars.locator(f".{name}").first.bounding_box() for name in ("track", "filled"))
    assert track and filled and filled["width"] / track["width"] == pytest.approx(0.85, abs=0.02)
    assert "3.50" in bars.inner_text()
    beside = page.locator(".written")
    assert "FR Ann saw Bob" in beside.inner_text()
    assert page.locator("#pair").is_visible()


def test_heads_are_chosen(page: Page, stub: Served) -> None:
    for task in ("syntax", "ner", "longer", "fr", "pos", "topics", "stars"):
        page.uncheck(f"#heads input[value={task}]")
    annotate(page)
    wish, questions = stub.asked()
    assert wish.tasks == ("mood",) and shown(questions[0]) == TEXT and wish.confidence
    assert page.locator("svg.tree, mark").count() == 0 and page.locator(".bar").count() == 1
    page.check("#split")
    page.click("#go")
    page.wait_for_timeout(300)
    assert stub.asked()[1][0].words == tuple(TEXT.split())


def test_a_link_restores_what_is_shown(page: Page, browser: Browser, address: str) -> None:
    page.select_option("#model", "two")
    page.uncheck("#heads input[value=syntax]")
    annotate(page, "Ann saw\nBob & 50 % #1?")
    link = page.url
    assert link.startswith(f"{address}/#") and "Ann" in link
    with opened(browser, link) as other:
        other.locator(".actions").wait_for()
        assert other.input_value("#text") == "Ann saw\nBob & 50 % #1?"
        assert other.input_value("#model") == "two" and not other.is_checked("#heads input[value=syntax]")
        assert other.locator("#results").inner_text() == page.locator("#results").inner_text()


def test_answers_are_copied(browser: Browser, address: str) -> None:
    with opened(browser, address, permissions=["clipboard-read", "clipboard-write"]) as page:
        annotate(page, "Ann saw Bob")
        page.fill("#text", "something else, which nobody asked yet")
        for button, wanted in (
            ("Copy CoNLL-U", "# text = Ann saw Bob"),
            ("Copy JSON", '"text": "Ann saw Bob"'),
            ("Copy link", "#text=Ann"),
        ):
            page.get_by_role("button", name=button).click()
            page.get_by_text("is copied.").or_(page.get_by_text("shows this again is copied.")).first.wait_for()
            page.wait_for_timeout(200)
            assert wanted in page.evaluate("navigator.clipboard.readText()")


def test_faults_are_told(page: Page) -> None:
    page.fill("#text", "x" * 5001)
    page.click("#go")
    page.locator(".status.bad").wait_for()
    assert "5,001 characters, and at most 5,000" in page.locator("#status").inner_text()
    assert "of at most 5,000" in page.locator("#count").inner_text()
    page.fill("#text", " ")
    page.click("#go")
    assert page.locator("#status").inner_text() == "There is no text yet."


def test_a_long_text_is_shown_in_parts(page: Page) -> None:
    annotate(page, " | ".join(f"Ann saw {i}" for i in range(30)))
    assert page.locator(".sentence").count() == 12
    page.get_by_role("button", name="Show more of the other 18 sentences").press("Enter")
    assert page.locator(".sentence").count() == 24
    page.get_by_role("button", name="Show more of the other 6 sentences").click()
    assert page.locator(".sentence").count() == 30 and page.get_by_role("button", name="Show more").count() == 0


def test_right_to_left(page: Page) -> None:
    annotate(page, "وصلت ماريا إلى بورتو")
    assert page.locator(".marked").first.evaluate("one => getComputedStyle(one).direction") == "rtl"
    xs = page.locator("svg.tree .word").evaluate_all("all => all.map(one => +one.getAttribute('x'))")
    assert len(xs) == 4 and all(a > b for a, b in pairwise(xs))


CONTRAST = """() => {
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const light = colour => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map(x => x / 255)
      .map(x => x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const behind = one => { for (; one; one = one.parentElement) { const found = getComputedStyle(one).backgroundColor;
    if (found !== 'rgba(0, 0, 0, 0)') return found; } return 'white'; };
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT); const found = [];
  while (texts.nextNode()) { const one = texts.currentNode.parentElement;
    if (!texts.currentNode.data.trim() || !one.checkVisibility()) continue;
    if (one.closest('.visually-hidden, .skip, option, script')) continue;
    const svg = one.closest('svg'); const own = getComputedStyle(one)[svg ? 'fill' : 'color'];
    const [a, b] = [light(own), light(behind(svg ? svg.parentElement : one))].sort();
    found.push([(b + 0.05) / (a + 0.05), one.className.baseVal ?? one.className, one.textContent.slice(0, 20)]); }
  return found.sort((x, y) => x[0] - y[0])[0]; }"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_its_text_stands_out(scheme: str, browser: Browser, address: str) -> None:
    """Contrast as WCAG 2.2 computes it; 4.5 is its level AA, and we want more."""
    with opened(browser, address, color_scheme=scheme) as page:
        annotate(page)
        for hue in range(8):
            page.locator(".entity").first.evaluate("(one, hue) => { one.className = `entity hue-${hue}`; }", hue)
            worst = page.evaluate(CONTRAST)
            assert worst[0] >= 6, worst


def test_dark_and_light_can_be_chosen(browser: Browser, address: str) -> None:
    with opened(browser, address, color_scheme="light") as page:
        before = page.evaluate("getComputedStyle(document.body).backgroundColor")
        page.click("#theme")
        assert page.get_attribute("#theme", "aria-pressed") == "true"
        after = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert before != after
        page.reload()
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == after


def test_a_key_is_asked_for(browser: Browser) -> None:
    with serving(Served(), keys=("k" * 20,)) as address, opened(browser, address) as page:
        page.fill("#key", "wrong" * 5)
        page.keyboard.press("Enter")
        page.locator(".status.bad").wait_for()
        assert "key is needed" in page.locator("#status").inner_text() and page.locator("#key").is_visible()
        page.fill("#key", "k" * 20)
        page.keyboard.press("Enter")
        page.locator("#heads input").first.wait_for()
        annotate(page, "Ann saw Bob")
        assert page.locator("mark").count() > 0 and not page.locator("#key-form").is_visible()


@pytest.mark.parametrize("width", WIDTHS)
def test_the_documentation_is_drawn_from_its_own_files(width: int, browser: Browser, address: str) -> None:
    with opened(browser, f"{address}/docs", width) as page:
        assert all(one.startswith(f"{address}/") for one in page.said)  # type: ignore[attr-defined]
        text = page.locator("main").inner_text()
        for wanted in ("/v1/annotate", "/v1/models/{name}/reload", "curl", "confidence", "/metrics"):
            assert wanted in text
        assert page.evaluate("document.documentElement.scrollWidth === innerWidth")
