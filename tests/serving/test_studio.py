"""The studio as it stands: over HTTP, and in a real browser. Three tiny runs: one that labels, one that tags, one that writes."""

import http.client
import json
import shutil
import threading
from contextlib import suppress
from urllib.parse import urlsplit

import pytest
import torch
from tests.conftest import make_base, make_tokenizer, rows_of, write_csv

import rootstock
from rootstock.cli.main import main
from rootstock.core.errors import UnknownName, UsageError
from rootstock.report import charts
from rootstock.run.explain import Explainer
from rootstock.run.use import Run

pytest.importorskip("starlette", reason="the extra serve is not installed")
pytest.importorskip("uvicorn", reason="the extra serve is not installed")

from rootstock.verbs import studio as verb

HISTORY = {"event": "step", "epoch": 0.5, "rate": 0.001, "tokens": 10, "rows": 2, "seconds": 0.1, "progress": 0.5}


def made(top, base):
    """A folder of runs: labels/, tags/, writes/, and growing/, which has not ended."""
    root, quick = top / "runs", {"epochs": 1, "rate": 3e-3, "batch_tokens": 128, "precision": "fp32"}
    write_csv(top / "rows.csv", rows_of(120))
    rootstock.adapt(top / "rows.csv", base=str(base), method="full", out=root / "labels", training=quick | {"epochs": 4}, seed=1)
    tagged = [(text.split(), ["B-THING" if word in ("film", "book", "song") else "O" for word in text.split()]) for text, _ in rows_of(30)]
    lines = [json.dumps({"tokens": words, "tags": tags}) for words, tags in tagged]
    (top / "tags.jsonl").write_text("\n".join(lines))
    small = quick | {"epochs": 12, "batch_tokens": 32}
    rootstock.adapt(top / "tags.jsonl", base=str(base), method="full", out=root / "tags", training=small, seed=1)
    writer = make_base(top / "writer", "llama")
    tokens = make_tokenizer()
    tokens.eos_token = "[SEP]"
    tokens.save_pretrained(writer)
    (top / "asked.jsonl").write_text("\n".join(json.dumps({"prompt": text, "completion": f" {label}"}) for text, label in rows_of(30)))
    rootstock.adapt(top / "asked.jsonl", base=str(writer), method="full", out=root / "writes", training=quick, seed=1)
    (root / "growing").mkdir()
    for name in ("recipe.yaml", "ledger.json"):
        shutil.copy(root / "labels" / name, root / "growing" / name)
    grow(root, 3)
    scanned(top / "rows.csv", base, root / "labels" / "poisoning.html")
    return root


def scanned(rows, base, page):
    """The rows of a run, looked at by the verb itself; what it found lies beside the run."""
    with pytest.MonkeyPatch.context() as patch, suppress(SystemExit):
        patch.setattr("sys.argv", ["rootstock", "scan", str(rows), "--poisoning", "--base", str(base), "--report", str(page)])
        main()


@pytest.fixture(scope="module")
def runs(tmp_path_factory, tiny_base, short_pages):
    """The runs, made once; a browser draws their reports, so these are whole."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(charts, "library", short_pages)
        return made(tmp_path_factory.mktemp("studio"), tiny_base)


def grow(root, steps):
    events = [HISTORY | {"step": step, "loss": 1 / step} for step in range(1, steps + 1)]
    (root / "growing" / "history.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))


@pytest.fixture(scope="module")
def server(runs):
    made = verb.opened(runs, 0)
    thread = threading.Thread(target=made.run)
    thread.start()
    yield made
    made.stop()
    thread.join(20)
    assert not thread.is_alive()


@pytest.fixture
def ask(server):
    """Ask as the page does; gives the status, headers and body. Anything of the request can be another."""
    place = urlsplit(server.address)
    token = place.query.removeprefix("token=")
    own = {"Host": place.netloc, "Cookie": f"rootstock-studio-{place.port}={token}"}

    def asked(path, question=None, *, body=None, without=(), **headers):
        connection = http.client.HTTPConnection("127.0.0.1", place.port, timeout=60)
        sent = own | ({"Origin": f"http://{place.netloc}", "Content-Type": "application/json"} if question is not None or body else {})
        sent = {
            name: value
            for name, value in (sent | {name.replace("_", "-"): value for name, value in headers.items()}).items()
            if name not in without
        }
        data = body if body is not None else None if question is None else json.dumps(question)
        connection.request("GET" if data is None else "POST", path, data, sent)
        answer = connection.getresponse()
        found = answer.read()
        connection.close()
        return answer.status, dict(answer.getheaders()), found

    asked.token = token
    return asked


def told(answer):
    assert answer[0] == 200, answer
    return json.loads(answer[2])


def test_who_may_ask(ask):
    assert ask("/api/runs")[0] == 200
    assert ask("/api/runs", without=["Cookie"])[0] == 403
    assert ask("/", without=["Cookie"])[0] == 403
    assert ask("/?token=wrong", without=["Cookie"])[0] == 403
    assert ask("/api/runs", Cookie="rootstock-studio-1=x")[0] == 403
    assert ask("/api/runs", Host="attacker.example:8700")[0] == 403
    status, headers, _ = ask(f"/?token={ask.token}", without=["Cookie"])
    assert (status, headers["location"]) == (303, "/")
    assert "HttpOnly" in headers["set-cookie"]
    assert "SameSite=strict" in headers["set-cookie"]
    question = {"id": "labels", "text": "a good film"}
    assert ask("/api/answer", question)[0] == 200
    assert ask("/api/answer", question, Origin="http://attacker.example")[0] == 403
    assert ask("/api/answer", question, Origin="null")[0] == 403
    assert ask("/api/answer", question, without=["Origin"])[0] == 403
    assert ask("/api/answer", question, Content_Type="text/plain")[0] == 415
    assert ask("/api/answer", body="x" * 300_000)[0] == 413
    assert ask("/api/answer")[0] == 405


def test_the_page_may_load_only_its_own_and_a_report_is_cut_off(ask):
    policy = ask("/")[1]["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    report = ask("/report?id=labels")
    assert report[0] == 200
    assert report[1]["content-security-policy"].startswith("sandbox allow-scripts")
    assert "allow-same-origin" not in report[1]["content-security-policy"]
    assert "connect-src" not in report[1]["content-security-policy"]


@pytest.mark.parametrize(
    "path",
    [
        "/report?id=../../etc",
        "/report?id=%2Fetc",
        "/report?id=growing",
        "/api/run?id=labels/../..",
        "/static/..%2Fapp.py",
        "/beside?page=../x.html",
        "/api/scan",
    ],
)
def test_no_path_leads_anywhere_else(ask, path):
    assert ask(path)[0] == 404


@pytest.mark.parametrize(
    "body", ["{", "[]", "3", '{"id": 3}', '{"id": "labels"}', '{"id": "labels", "text": 3}', '{"id": "labels", "text": " "}', "[" * 9999]
)
def test_a_wrong_question_is_told_so(ask, body):
    status, _, found = ask("/api/answer", body=body)
    assert status in (400, 422)
    assert json.loads(found)["found"]


def test_what_a_run_left_is_told(ask, runs):
    found = {each["id"]: each for each in told(ask("/api/runs"))["runs"]}
    assert {name: each["state"] for name, each in found.items()} == {
        "labels": "ended",
        "tags": "ended",
        "writes": "ended",
        "growing": "running",
    }
    assert found["labels"]["figure"] == "accuracy"
    assert found["labels"]["interval"]
    assert told(ask("/api/run?id=labels"))["report"] is True
    account = told(ask("/api/account?id=labels"))
    assert {chart["key"] for chart in account["charts"]} == {"lengths", "labels"}
    scanned = told(ask("/api/scan?id=labels"))
    assert scanned["refused"] is False
    (left,) = scanned["left"]
    assert (left["name"], left["page"], left["found"]["rows"]) == ("poisoning", "labels/poisoning.html", 120)
    assert left["verdict"] == json.loads((runs / "labels" / "poisoning.json").read_text())["verdict"]
    assert ask("/beside?page=labels/poisoning.html")[0] == 200
    assert {"poisoning.json", "poisoning.html"} <= json.loads((runs / "labels" / "manifest.json").read_text())["files"].keys()
    lineage = told(ask("/api/lineage?id=labels"))
    assert lineage["issues"] == []
    assert {each["role"] for each in lineage["root"]["grew_from"]} >= {"base", "data"}
    assert ask("/api/lineage?id=growing")[0] == 422


def test_answers_are_those_of_predict(ask, runs):
    text = "the film was very good"
    found = told(ask("/api/answer", {"id": "labels", "text": text}))
    row = Run(runs / "labels").predictions(Run(runs / "labels").rows_of([text])).table
    assert found["predicted"] == row["predicted"][0]
    assert {each["name"]: each["p"] for each in found["labels"]} == {name[2:-1]: row[name][0] for name in row if name.startswith("p(")}
    text = "a film, 😀 the  book"
    tagged = told(ask("/api/answer", {"id": "tags", "text": text}))
    assert "".join(each["text"] for each in tagged["pieces"]) == text
    assert {each["text"] for each in tagged["pieces"] if each.get("kind")} == {"film", "book"}


def test_a_changed_model_is_refused_as_predict_refuses_it(ask, runs):
    shutil.copytree(runs / "labels", runs / "changed")
    with (runs / "changed" / "model" / "model.safetensors").open("r+b") as stream:
        stream.seek(-4, 2)
        stream.write(b"\x00\x00\x00\x01")
    status, _, found = ask("/api/answer", {"id": "changed", "text": "a film"})
    shutil.rmtree(runs / "changed")
    assert status == 409
    assert "digest" in json.loads(found)["found"]


def test_a_text_is_written_piece_by_piece_as_predict_writes_it(ask, runs):
    status, headers, found = ask("/api/write", {"id": "writes", "text": "the film was"})
    events = [dict(line.split(": ", 1) for line in each.split("\n")) for each in found.decode().strip().split("\n\n")]
    assert (status, headers["content-type"].split(";")[0], events[-1]["event"]) == (200, "text/event-stream", "done")
    written = "".join(json.loads(each["data"]) for each in events[:-1])
    assert written.strip() == Run(runs / "writes").predict(["the film was"])[0]
    assert b"writes no text" in ask("/api/write", {"id": "labels", "text": "x"})[2]


def test_explanations_come_with_their_gap(ask):
    found = told(ask("/api/explain", {"id": "labels", "text": "the film was very good"}))
    shares = [each["value"] for each in found["texts"][0] if "value" in each]
    assert sum(shares) + found["special"] + found["gap"] == pytest.approx(found["score"] - found["baseline"], abs=1e-6)
    assert "".join(each["text"] for each in found["texts"][0]) == "the film was very good"
    assert told(ask("/api/explain", {"id": "tags", "text": "the film was", "word": 1}))["target"] == "B-THING"
    assert ask("/api/explain", {"id": "tags", "text": "the film", "word": 9})[0] == 422
    assert ask("/api/explain", {"id": "writes", "text": "the film"})[0] == 422


@pytest.fixture
def run(runs):
    return Run(runs / "labels")


def test_the_shares_add_up_and_name_the_word_that_tells(run):
    found = Explainer(run).explain("the film was very good")
    assert found.tokens == ["[CLS]", "the", "film", "was", "very", "good", "[SEP]"]
    assert found.places[5] == (0, 18, 22)
    assert found.special == [True, *[False] * 5, True]
    assert found.values[0] == found.values[-1] == 0
    assert abs(found.gap) <= max(0.01 * abs(found.score - found.baseline), 1e-4)
    assert found.tokens[max(range(7), key=lambda at: found.values[at])] == "good"
    row = run.predictions(run.rows_of(["the film was very good"])).table
    assert found.target == row["predicted"][0]
    assert torch.tensor(found.score).sigmoid().item() == pytest.approx(row["confidence"][0], abs=1e-4)


def test_another_label_has_the_opposite_shares(run):
    first, second = (Explainer(run).explain("a dull book", target=name) for name in run.task.labels)
    assert first.values == pytest.approx([-value for value in second.values], abs=1e-4)
    with pytest.raises(UnknownName):
        Explainer(run).explain("a dull book", target="goood")


def test_a_port_that_is_taken_and_a_folder_that_is_none(server, runs, tmp_path):
    with pytest.raises(UsageError, match="can't listen on port"):
        verb.opened(runs, urlsplit(server.address).port)
    with pytest.raises(UsageError, match="does not exist"):
        verb.opened(tmp_path / "nowhere", 0)


@pytest.fixture
def page(server):
    """The studio in chromium; the console's complaints fail the test."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or pytest.skip("chromium is not installed")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        context = browser.new_context(bypass_csp=False)
        opened, complaints = context.new_page(), []
        opened.on("console", lambda said: complaints.append(said.text))
        opened.on("pageerror", lambda error: complaints.append(str(error)))
        opened.on("request", lambda asked: None if asked.url.startswith(server.address.split("/?")[0]) else complaints.append(asked.url))
        opened.goto(server.address)
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


def test_a_browser_lists_opens_predicts_and_follows(page, runs):
    grow(runs, 3)
    rows = page.locator("table.runs tbody tr")
    rows.first.wait_for()
    assert rows.count() == 4
    assert accessible(page) == []
    page.get_by_label("Search name").fill("tag")
    assert rows.count() == 1
    page.get_by_label("Search name").fill("")

    page.locator('a[href="#/run/growing"]').click()
    page.locator("svg.chart").first.wait_for()
    assert page.evaluate("document.activeElement.tagName") == "H1"
    assert "in 3 steps" in page.locator("figcaption").first.inner_text()
    grow(runs, 8)
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


def test_a_browser_shows_the_parts_of_a_run_and_compares(page):
    page.locator("table.runs tbody tr").first.wait_for()
    for name in ("labels", "tags"):
        page.get_by_label(f"Choose {name} to compare").check()
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
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
