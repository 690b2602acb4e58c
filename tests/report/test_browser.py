import re
import shutil
import subprocess

import pytest

from rootstock.report import page

CHROMIUM = shutil.which("chromium")
QUIET = (
    "no-sandbox",
    "disable-gpu",
    "disable-quic",
    "no-first-run",
    "disable-background-networking",
    "disable-component-update",
    "disable-sync",
)


@pytest.fixture
def opened(tmp_path):
    """Opens a page from disk in a real browser; gives the DOM that its scripts left, and what the console said."""
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")

    def show(html):
        path = tmp_path / "report.html"
        path.write_text(html, "utf-8")
        switches = ["--headless", *(f"--{name}" for name in QUIET), f"--user-data-dir={tmp_path / 'profile'}"]
        logging = ["--enable-logging=stderr", "--virtual-time-budget=10000", "--dump-dom"]
        done = subprocess.run([CHROMIUM, *switches, *logging, path.as_uri()], capture_output=True, text=True, timeout=120, check=True)
        return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]

    return show


def test_a_browser_draws_every_chart_without_a_complaint(opened, hostile):
    html = page.render(hostile)
    dom, console = opened(html)
    plots = len(re.findall(r'<div class="plot"', html))
    drawn = len(re.findall(r'<div class="plot js-plotly-plot"', dom))
    assert console == []
    assert plots == drawn == 7
    assert dom.count('class="main-svg"') >= drawn
    assert dom.count('<th scope="col" class="n"><button') == 4
