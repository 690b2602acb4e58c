"""The studio in a real browser: every view opened and used, by the keyboard too, light and dark, on a phone; axe finds nothing wrong."""

import re
import shutil

import pytest
from tests.serving.studio_runs import ASKED, grow

from rootstock.run.use import Run

pytest.importorskip("uvicorn", reason="the extra serve is not installed")
api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")


@pytest.fixture
def page(studio_server):
    """The studio in chromium; the console's complaints fail the test."""
    chromium = shutil.which("chromium") or pytest.skip("chromium is not installed")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        context = browser.new_context(bypass_csp=False)
        opened, complaints = context.new_page(), []
        opened.on("console", lambda said: complaints.append(said.text))
        opened.on("pageerror", lambda error: complaints.append(str(error)))
        opened.on(
            "request", lambda asked: None if asked.url.startswith(studio_server.address.split("/?")[0]) else complaints.append(asked.url)
        )
        opened.goto(studio_server.address)
        yield opened
        browser.close()
    assert complaints == []


def accessible(page):
    """What axe finds wrong with what is shown, where axe is there."""
    try:
        from importlib.resources import files

        axe = (files("axe_playwright_python") / "axe.min.js").read_text("utf-8")
    except ModuleNotFoundError:
        return []
    # evaluated by the debugger, as the policy of the page lets no script of ours in
    found = page.evaluate(axe + "\n;axe.run(document)")
    assert len(found["passes"]) > 10
    return [(each["id"], [node["html"][:200] for node in each["nodes"]]) for each in found["violations"]]


def test_a_browser_lists_opens_predicts_and_follows(page, studio_runs):
    grow(studio_runs, 3)
    rows = page.locator("table.runs tbody tr")
    rows.first.wait_for()
    assert rows.count() == 6
    assert accessible(page) == []
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.get_by_label("Search name").fill("tag")
    assert rows.count() == 1
    page.get_by_label("Search name").fill("")

    page.locator('a[href="#/run/growing"]').click()
    page.locator("svg.chart").first.wait_for()
    assert page.evaluate("document.activeElement.tagName") == "H1"
    assert "in 3 steps" in page.locator("figcaption").first.inner_text()
    grow(studio_runs, 8)
    page.get_by_text("in 8 steps").wait_for(timeout=30_000)
    assert accessible(page) == []

    page.goto(page.url.split("#")[0] + "#/playground?id=labels&id=tags")
    page.get_by_role("textbox", name="Text").fill("the film was very good")
    page.keyboard.press("Control+Enter")
    page.locator("article .bars li").first.wait_for(timeout=120_000)
    page.get_by_role("button", name="What does it rest on?").click()
    page.locator("article .words mark[title]").first.wait_for(timeout=60_000)
    assert page.locator("article mark.entity").inner_text().startswith("film")
    assert accessible(page) == []

    for name in ("writes", "spans"):  # beside the two others, now with a passage
        page.get_by_role("checkbox", name=name).check()
    (written,) = Run(studio_runs / "writes").predict([ASKED])
    assert written
    page.get_by_role("textbox", name="Question").fill(ASKED)
    page.get_by_label("Passage").fill("a good film and a dull book")
    page.get_by_role("button", name="Ask").click()
    page.locator("article", has_text="spans").locator("mark.entity").wait_for(timeout=120_000)
    page.locator("article p.words").filter(has_text=re.compile(rf"^\s*{re.escape(written)}\s*$")).first.wait_for(timeout=120_000)
    page.get_by_text("Writing …").wait_for(state="detached")
    assert page.locator("article").count() == 4
    assert accessible(page) == []


def test_a_browser_shows_the_parts_of_a_run_and_compares(page):
    page.locator("table.runs tbody tr").first.wait_for()
    for name in ("labels", "slower"):
        page.get_by_label(f"Choose {name} to compare").check()
    page.get_by_role("button", name="Compare 2 chosen").click()
    for cost in ("seconds", "bytes"):
        plot = page.locator(f"figure[data-key=front-{cost}]")
        assert plot.locator("figcaption").inner_text().startswith("On the front: labels (")
        assert "slower" not in plot.locator("figcaption").inner_text()
        assert plot.locator("svg .mark-name").all_text_contents() == ["labels", "slower"]
    assert page.get_by_role("group", name="The chosen runs", exact=True).locator("tbody tr").count() == 2
    assert accessible(page) == []
    page.get_by_role("link", name="list of runs").or_(page.get_by_role("link", name="Runs")).first.click()
    page.get_by_label("Choose slower to compare").uncheck()
    page.get_by_label("Choose tags to compare").check()
    page.get_by_role("button", name="Compare 2 chosen").click()
    page.get_by_text("measured by different figures").wait_for()
    assert accessible(page) == []
    signs = {"data": "Length of the rows", "scan": "read byte by byte", "lineage": "No link is another than declared", "": "Loss"}
    for tab, sign in signs.items():
        page.goto(page.url.split("#")[0] + f"#/run/labels/{tab}")
        page.get_by_text(sign).first.wait_for(timeout=30_000)
        for closed in page.locator("details > summary").all() if tab == "scan" else ():
            closed.click()
        assert accessible(page) == []
        if tab == "scan":
            assert "poisoning: " in page.locator("details > summary").inner_text()
            assert page.get_by_role("link", name="Page of this check").get_attribute("href") == "/beside?page=labels%2Fpoisoning.html"
    page.goto(page.url.split("#")[0] + "#/run/labels/report")
    page.frame_locator("iframe").locator("h1").wait_for()
    page.frame_locator("iframe").locator(".main-svg").first.wait_for()
    assert accessible(page) == []
    assert accessible(page.frame(url="**/report?id=labels")) == []
    page.get_by_role("button", name="Theme: system").click()
    page.get_by_role("button", name="Theme: light").click()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 25, 23)"
    assert accessible(page) == []
    page.set_viewport_size({"width": 360, "height": 740})
    for view in (
        "runs",
        "compare?id=labels&id=slower",
        "playground",
        "run/labels",
        "run/labels/data",
        "run/labels/scan",
        "run/labels/lineage",
    ):
        page.goto(page.url.split("#")[0] + f"#/{view}")
        page.locator("main h1").wait_for()
        page.locator("main [aria-busy]").first.wait_for(state="detached")
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, view
        assert accessible(page) == [], view
