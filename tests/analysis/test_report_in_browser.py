"""The report in a real browser: headless Chromium opens it as a reader does."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from analysis.report import write_report
from analysis.study import load

pytestmark = pytest.mark.browser

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
QUIET = ("--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update")
PHONE, DESK = 390, 1200
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


@dataclass
class Opened:
    """A page, and what happened while it was open."""

    page: Page
    file: Path
    messages: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def faults(self) -> set[str]:
        """What is wrong with the page, in a word each."""
        undrawn = self.page.evaluate("[...document.images].filter(one => one.naturalWidth === 0).length")
        wider = self.page.evaluate("document.documentElement.scrollWidth > window.innerWidth")
        others = [address for address in self.requests if address != self.file.as_uri()]
        found = {"console": self.messages, "requests": others, "pictures": undrawn, "overflow": wider}
        return {name for name, fault in found.items() if fault}


Open = Callable[..., Opened]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no Chromium: install Debian's package chromium to have the report opened in a browser")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=[*QUIET])
        yield started
        started.close()


@pytest.fixture(scope="module")
def report(searched: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(load(searched), tmp_path_factory.mktemp("browser"))[1]


@pytest.fixture
def show(browser: Browser) -> Iterator[Open]:
    """Opens a file in a window of so many pixels."""
    contexts = []

    def show(file: Path, width: int = DESK) -> Opened:
        contexts.append(browser.new_context(viewport={"width": width, "height": 844}))
        page = contexts[-1].new_page()
        page.set_default_timeout(5000)
        opened = Opened(page, file)
        page.on(
            "console",
            lambda said: opened.messages.append(said.text) if said.type in ("error", "warning") else None,
        )
        page.on("pageerror", lambda error: opened.messages.append(str(error)))
        page.on(
            "request",
            lambda asked: opened.requests.append(asked.url) if not asked.url.startswith("data:") else None,
        )
        page.goto(file.as_uri(), wait_until="load")
        return opened

    yield show
    for context in contexts:
        context.close()


@pytest.mark.parametrize("width", [PHONE, DESK])
def test_the_report_opens_without_faults(show: Open, report: Path, width: int) -> None:
    opened = show(report, width)
    assert opened.faults() == set()
    assert opened.requests == [report.as_uri()]
    assert opened.page.locator("img").count() >= 15
    assert opened.page.evaluate("window.innerWidth") == width


@pytest.mark.parametrize(
    ("broken", "fault"),
    [
        ('<img src="data:image/png;base64,AAAA">', "pictures"),
        ('<script>console.warn("no")</script>', "console"),
        ("<script>nowhere.at = all</script>", "console"),
        ('<script src="http://127.0.0.1:9/other.js"></script>', "requests"),
        ('<link rel="stylesheet" href="other.css">', "requests"),
        ('<div style="width: 800px">wide</div>', "overflow"),
    ],
)
def test_a_page_that_is_broken_on_purpose_is_found_out(
    show: Open, report: Path, tmp_path: Path, broken: str, fault: str
) -> None:
    file = tmp_path / "broken.html"
    file.write_text(report.read_text(encoding="utf-8").replace("<footer>", f"{broken}<footer>"))
    assert fault in show(file, PHONE).faults()


def test_a_drawn_picture_is_no_fault(show: Open, tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text(f'<link rel="icon" href="data:,"><img src="data:image/png;base64,{PIXEL}">')
    assert show(file).faults() == set()


def column(page: Page, head: str) -> list[str]:
    """The cells of the first column of that name, from the top down."""
    return page.evaluate(  # type: ignore[no-any-return]
        """name => {
            const head = [...document.querySelectorAll("th")].find(one => one.textContent === name);
            return [...head.closest("table").tBodies[0].rows].map(row => row.cells[head.cellIndex].textContent);
        }""",
        head,
    )


def test_a_click_on_a_header_sorts_its_column_and_another_turns_it_round(show: Open, report: Path) -> None:
    page = show(report).page
    effects = column(page, "effect")
    numbers = sorted((float(one) for one in effects if one != "–"), reverse=True)
    missing = ["–"] * effects.count("–")
    assert len(set(numbers)) > 3 and missing and effects != [f"{one:+.1f}" for one in numbers] + missing
    button = page.get_by_role("button", name="effect", exact=True)
    head = page.locator("th", has=button)
    levels_of = dict(zip(effects, column(page, "level"), strict=True))
    button.click()
    assert [float(one) for one in column(page, "effect")[: len(numbers)]] == numbers
    assert column(page, "effect")[len(numbers) :] == missing
    assert head.get_attribute("aria-sort") == "descending"
    button.click()
    assert [float(one) for one in column(page, "effect")[: len(numbers)]] == numbers[::-1]
    assert column(page, "effect")[len(numbers) :] == missing
    assert head.get_attribute("aria-sort") == "ascending"
    unique = [one for one in column(page, "effect") if effects.count(one) == 1]
    moved = dict(zip(column(page, "effect"), column(page, "level"), strict=True))
    assert unique and {one: moved[one] for one in unique} == {one: levels_of[one] for one in unique}


def test_the_keyboard_sorts_and_only_one_column_is_marked(show: Open, report: Path) -> None:
    page = show(report).page
    page.get_by_role("button", name="factor", exact=True).first.focus()
    page.keyboard.press("Enter")
    assert column(page, "factor") == sorted(column(page, "factor"))
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    table = page.locator("table", has=page.get_by_role("button", name="factor", exact=True)).first
    assert table.locator("th[aria-sort]").all_text_contents() == ["level"]


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["90 s", "–", "1.5 h", "2 min"], ["1.5 h", "2 min", "90 s", "–"]),
        (["-2.1 to +9.0", "+0.5 to +1.0", "", "−3.0"], ["+0.5 to +1.0", "-2.1 to +9.0", "−3.0", ""]),
        (["0.612 ± 0.010", "0.7", "0.65 ± 0.200", "0.0"], ["0.7", "0.65 ± 0.200", "0.612 ± 0.010", "0.0"]),
        (["0.020", "<0.001", "1.000", "–"], ["1.000", "0.020", "<0.001", "–"]),
        (["1,200", "300", "9%", "1.05×"], ["1,200", "300", "9%", "1.05×"]),
        (["8e-05", "0.001", "1e-05", "2"], ["2", "0.001", "8e-05", "1e-05"]),
        (["inactive", "10", "–", "9"], ["9", "10", "inactive", "–"]),
        (["trial 10", "best", "trial 9", "–"], ["best", "trial 9", "trial 10", "–"]),
    ],
)
def test_numbers_sort_as_numbers_and_text_as_text(
    show: Open, tmp_path: Path, cells: list[str], expected: list[str]
) -> None:
    script = Path(__file__).parents[2] / "analysis" / "templates" / "sort.js"
    rows = "".join(f"<tr><td>{cell}</td></tr>" for cell in cells)
    table = f"<table><thead><tr><th><button>value</button></th></tr></thead><tbody>{rows}</tbody></table>"
    file = tmp_path / "table.html"
    file.write_text(f'<meta charset="utf-8">{table}<script>{script.read_text()}</script>', encoding="utf-8")
    page = show(file).page
    page.get_by_role("button").click()
    assert column(page, "value") == expected


def test_a_wide_table_scrolls_inside_its_own_box(show: Open, report: Path) -> None:
    page = show(report, PHONE).page
    box = page.locator(".table").first
    assert box.evaluate("one => one.scrollWidth > one.clientWidth")
    assert box.evaluate("one => { one.scrollLeft = 50; return one.scrollLeft; }") == 50


def test_on_paper_every_table_fits_the_page(show: Open, report: Path) -> None:
    page = show(report, 700).page
    assert page.locator(".table").first.evaluate("one => one.scrollWidth > one.clientWidth")
    page.emulate_media(media="print")
    clipped = page.locator(".table").evaluate_all(
        "all => all.filter(one => one.scrollWidth > one.clientWidth + 1).length"
    )
    assert clipped == 0
    assert not page.locator("nav").is_visible()
