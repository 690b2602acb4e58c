"""The studio's first load in Chromium, each time in a browser context of its own; writes results/studio.json.

python bench/studio.py RUNS [--loads 11]      a folder of runs; needs the extras serve and browser, and Chromium

The server listens before the first load is timed. load: until the browser's load event; shown: until the first run stands in the list.
"""

import argparse
import json
import os
import shutil
import statistics
import sys
import threading
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "src"))
RESULTS = Path(os.environ.get("ROOTSTOCK_RESULTS", HERE / "results"))
ASKED = """() => {
  const page = performance.getEntriesByType('navigation')[0];
  const files = performance.getEntriesByType('resource').filter((each) => !each.name.includes('/api/'));
  return {load_ms: page.loadEventEnd - page.startTime, shown_ms: performance.now(),
    bytes: files.reduce((sum, each) => sum + each.encodedBodySize, page.encodedBodySize)};
}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--loads", type=int, default=11)
    options = parser.parse_args()
    from playwright.sync_api import sync_playwright

    from rootstock.verbs.studio import opened

    server, loads = opened(options.runs, 0), []
    thread = threading.Thread(target=server.run)
    thread.start()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for _ in range(options.loads):
            context = browser.new_context()
            page = context.new_page()
            page.goto(server.address)
            page.locator("table.runs tbody tr").first.wait_for()
            loads.append(page.evaluate(ASKED))
            context.close()
        browser.close()
    server.stop()
    thread.join(20)
    found = {f"median_{name}": statistics.median(each[name] for each in loads) for name in ("load_ms", "shown_ms", "bytes")}
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "studio.json").write_text(json.dumps(found | {"loads": loads}, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
