"""The report page in a browser, at the width of a phone and of a desktop, in light and dark colours."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from chromium import Chromium, find_browser
from synthetic_records import write_rich_comparison

from tl_toolkit.comparison.report.writing import write_report

EVIL = (
    "<script>window.bitten = true; console.error('bitten')</script>",
    '</script><img src=x onerror="window.bitten = true"><b>bold</b> &lt; &amp;amp;',
    "right-to-left \u202egnp.exe and \u2067isolated, null \x00 byte",
    "<svg/onload=window.bitten=true> <iframe src=https://example.com></iframe> --> ]]> {{ 7 * 7 }}",
)


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    skills = {
        "lstm": (0.3, 0.4, 0.5),
        f"bilstm-attention {EVIL[0]}": (0.32, 0.43, 0.55),
        "elman": (0.2, 0.3, 0.4),
        "minilm": (0.5, 0.6, 0.7),
    }
    write_rich_comparison(folder, skills=skills, seeds=(3, 2, 1), rows=211, texts=EVIL)
    return write_report(folder, f"Half a surrogate \ud800 {EVIL[1]}")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    program = find_browser()
    if program is None:
        pytest.skip("no Chromium or Chrome is installed")
    chromium = Chromium(program, tmp_path_factory.mktemp("profile"))
    yield chromium
    chromium.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_no_errors_no_requests_and_no_horizontal_scrolling(browser, page, width, scheme):
    browser.open(page, width, 800, scheme)
    browser.run("document.querySelectorAll('details').forEach((each) => each.open = true)")
    assert browser.run("document.documentElement.scrollWidth") <= width
    # Wide elements scroll separately, also by keyboard.
    stuck = browser.run(
        "Array.from(document.querySelectorAll('main *')).filter((e) => e.scrollWidth > e.clientWidth + 1 "
        "&& ['auto', 'scroll'].includes(getComputedStyle(e).overflowX) && e.tabIndex < 0).length"
    )
    assert stuck == 0
    assert browser.complaints() == []
    assert [url for url in browser.requests() if not url.startswith(page.resolve().as_uri())] == []
    assert browser.run("window.bitten") is None


CONTRAST = """(() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const over = (colour, below) => {
    canvas.fillStyle = `rgb(${below.join(" ")})`;
    canvas.fillRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return Array.from(canvas.getImageData(0, 0, 1, 1).data).slice(0, 3);
  };
  const behind = (element) => {
    const chain = [];
    for (let e = element; e; e = e.parentElement) chain.unshift(getComputedStyle(e).backgroundColor);
    return chain.reduce((below, colour) => over(colour, below), [255, 255, 255]);
  };
  const light = (rgb) => rgb.map((c) => c / 255).map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const found = {};
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || ["SCRIPT", "STYLE"].includes(element.tagName)) continue;
    if (!element.checkVisibility({ visibilityProperty: true, opacityProperty: true })) continue;
    const style = getComputedStyle(element);
    const below = behind(element);
    const ink = over(element.namespaceURI.endsWith("svg") ? style.fill : style.color, below);
    const [low, high] = [light(ink), light(below)].sort((a, b) => a - b);
    const ratio = (high + 0.05) / (low + 0.05);
    if (ratio < 4.5) found[`${element.tagName}.${element.className} on ${below}: ${ink}`] = ratio.toFixed(2);
  }
  return found;
})()"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_has_contrast(browser, page, scheme):
    """WCAG 2.2 success criterion 1.4.3 on every background: at least 4.5 to 1."""
    browser.open(page, scheme=scheme)
    browser.run("document.querySelectorAll('details').forEach((each) => each.open = true)")
    assert browser.run(CONTRAST) == {}


def first_column(browser) -> list[str]:
    return browser.run(
        "Array.from(document.querySelectorAll('#results-table tbody tr:not([hidden]) th'), "
        "(cell) => cell.firstChild.textContent.trim())"
    )


def heading(name: str) -> str:
    return f"Array.from(document.querySelectorAll('#results-table th')).find((e) => e.textContent === '{name}')"


def test_sorting_by_click_and_by_keyboard(browser, page):
    browser.open(page)
    cells = "Array.from(document.querySelectorAll('#results-table tbody tr:not([hidden])'), (row) => row.cells[{}])"
    column = browser.run(f"{heading('Training, s')}.cellIndex")
    values = f"{cells.format(column)}.map((cell) => cell.dataset.sort)"

    browser.click(f"{heading('Training, s')}.querySelector('button')")
    assert browser.run(f"{heading('Training, s')}.getAttribute('aria-sort')") == "ascending"
    known = [float(value) for value in browser.run(values) if value]
    assert known == sorted(known) and len(known) == 4
    assert browser.run(values)[-1] == ""  # the baseline, whose costs are unknown, is last

    browser.press("Enter", 13, "\r")  # the clicked button has the focus
    assert browser.run(f"{heading('Training, s')}.getAttribute('aria-sort')") == "descending"
    known = [float(value) for value in browser.run(values) if value]
    assert known == sorted(known, reverse=True) and browser.run(values)[-1] == ""

    browser.run(f"{heading('Entry')}.querySelector('button').focus()")
    browser.press(" ", 32, " ")
    names = first_column(browser)
    assert names == sorted(names, key=str.lower) and len(names) == 5
    assert browser.run("document.querySelectorAll('#results-table th[aria-sort]').length") == 1


def test_one_budget_is_shown_and_all_can_be(browser, page):
    browser.open(page)
    shown = "document.querySelectorAll('#results-table tbody tr:not([hidden])').length"
    assert browser.run(shown) == 5 and browser.run("document.querySelectorAll('#results-table tbody tr').length") == 15
    browser.click("Array.from(document.querySelectorAll('.filters button')).find((e) => e.value === '')")
    assert browser.run(shown) == 15
    assert browser.run("document.querySelector('.filters output').textContent") == "15 of 15 rows"


def test_the_colour_scheme_can_be_changed(browser, page):
    browser.open(page, scheme="light")
    colour = "getComputedStyle(document.body).backgroundColor"
    light = browser.run(colour)
    browser.click("document.getElementById('theme')")
    dark = browser.run(colour)
    assert light == "rgb(255, 255, 254)" and dark == "rgb(23, 28, 36)"
    assert browser.run("document.getElementById('theme').textContent") == "Light colours"
    browser.open(page, scheme="dark")
    assert browser.run(colour) == dark


def test_texts_of_the_dataset_stay_text(browser, page):
    browser.open(page)
    quoted = browser.run("Array.from(document.querySelectorAll('q'), (e) => [e.textContent, e.children.length])")
    assert quoted and all(children == 0 for _, children in quoted)
    said = {text for text, _ in quoted}
    assert EVIL[1] in said and EVIL[3] in said
    assert EVIL[2].replace("\x00", "\ufffd") in said
    assert EVIL[0] in browser.run("document.querySelector('#results-table').textContent")
    assert browser.run("document.title") == f"Half a surrogate \ufffd {EVIL[1]}"
    assert browser.run("document.querySelectorAll('img, iframe, b b, script').length") == 1
    # Direction marks have no effect outside their quotation.
    assert browser.run(
        "Array.from(document.querySelectorAll('q')).every((e) => getComputedStyle(e).unicodeBidi.includes('isolate'))"
    )


def test_other_scripts_do_not_run(browser, page, tmp_path):
    """The page's policy allows only the script whose hash it names."""
    tampered = tmp_path / "report.html"
    tampered.write_text(page.read_text().replace("</body>", "<script>window.bitten = true</script></body>"))
    browser.open(tampered)
    assert browser.run("window.bitten") is None and "Content Security Policy" in str(browser.complaints())


def test_without_scripts_all_rows_are_there(browser, page):
    browser.ask("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(page)
        root = browser.ask("DOM.getDocument", depth=0)["root"]["nodeId"]
        rows = browser.ask("DOM.querySelectorAll", nodeId=root, selector="#results-table tbody tr:not([hidden])")
        dead = browser.ask("DOM.querySelectorAll", nodeId=root, selector="button:not([hidden] *, [hidden])")
    finally:
        browser.ask("Emulation.setScriptExecutionDisabled", value=False)
    assert len(rows["nodeIds"]) == 15 and dead["nodeIds"] == []


def test_the_keyboard_reaches_the_recommendation_first(browser, page):
    browser.open(page)
    browser.press("Tab", 9)
    assert browser.run("document.activeElement.textContent") == "Skip to the recommendation"
    assert browser.run("document.activeElement.getBoundingClientRect().left") >= 0
    assert browser.run("document.querySelector(document.activeElement.hash) !== null")


def test_landmarks_headings_and_names(browser, page):
    browser.open(page)
    levels = browser.run("Array.from(document.querySelectorAll('h1, h2, h3, h4, h5, h6'), (e) => +e.tagName[1])")
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(levels, levels[1:], strict=False))
    assert browser.run("['header', 'main', 'nav', 'footer'].every((e) => document.querySelector(e))")
    assert browser.run("Array.from(document.querySelectorAll('table')).every((e) => e.caption)")
    assert browser.run("Array.from(document.querySelectorAll('main svg')).every((e) => e.getAttribute('aria-label'))")
    assert browser.run(
        "Array.from(document.querySelectorAll('[aria-labelledby]')).every("
        "(e) => document.getElementById(e.getAttribute('aria-labelledby')))"
    )


def test_it_prints(browser, page, tmp_path):
    browser.open(page, scheme="dark")
    browser.paper(tmp_path / "page.pdf")
    content = (tmp_path / "page.pdf").read_bytes()
    pages = len(re.findall(rb"/Type\s*/Page\b(?!s)", content))
    assert content.startswith(b"%PDF") and 3 <= pages <= 30
