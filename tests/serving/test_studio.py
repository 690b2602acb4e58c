"""The studio as it stands, over HTTP."""

import http.client
import json
import shutil
from urllib.parse import urlsplit

import pytest
import torch
from tests.serving.studio_runs import ASKED

from rootstock.core.errors import UnknownName, UsageError
from rootstock.run.explain import Explainer
from rootstock.run.use import Run

pytest.importorskip("starlette", reason="the extra serve is not installed")
pytest.importorskip("uvicorn", reason="the extra serve is not installed")

from rootstock.verbs import studio as verb


@pytest.fixture
def ask(studio_server):
    """Ask as the page does; gives the status, headers and body. Anything of the request can be another."""
    place = urlsplit(studio_server.address)
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


def test_what_a_run_left_is_told(ask, studio_runs):
    found = {each["id"]: each for each in told(ask("/api/runs"))["runs"]}
    assert {name: each["state"] for name, each in found.items()} == {
        "labels": "ended",
        "tags": "ended",
        "writes": "ended",
        "slower": "ended",
        "spans": "ended",
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
    assert left["verdict"] == json.loads((studio_runs / "labels" / "poisoning.json").read_text())["verdict"]
    assert ask("/beside?page=labels/poisoning.html")[0] == 200
    assert {"poisoning.json", "poisoning.html"} <= json.loads((studio_runs / "labels" / "manifest.json").read_text())["files"].keys()
    lineage = told(ask("/api/lineage?id=labels"))
    assert lineage["issues"] == []
    assert {each["role"] for each in lineage["root"]["grew_from"]} >= {"base", "data"}
    assert ask("/api/lineage?id=growing")[0] == 422


def test_answers_are_those_of_predict(ask, studio_runs):
    text = "the film was very good"
    found = told(ask("/api/answer", {"id": "labels", "text": text}))
    row = Run(studio_runs / "labels").predictions(Run(studio_runs / "labels").rows_of([text])).table
    assert found["predicted"] == row["predicted"][0]
    assert {each["name"]: each["p"] for each in found["labels"]} == {name[2:-1]: row[name][0] for name in row if name.startswith("p(")}
    text = "a film, 😀 the  book"
    tagged = told(ask("/api/answer", {"id": "tags", "text": text}))
    assert "".join(each["text"] for each in tagged["pieces"]) == text
    assert {each["text"] for each in tagged["pieces"] if each.get("kind")} == {"film", "book"}


def test_an_answer_is_marked_in_its_passage(ask, studio_runs):
    question, passage = "the book was", "a good film, 😀 the  dull book was very good"
    assert told(ask("/api/asks?id=spans")) == {
        **{"kind": "span", "parts": ["text", "text_pair"], "explains": False, "streams": False, "labels": []}
    }
    found = told(ask("/api/answer", {"id": "spans", "text": question, "text_pair": passage}))
    assert "".join(each["text"] for each in found["pieces"]) == passage
    marked = [each["text"] for each in found["pieces"] if each.get("kind") == "answer"]
    assert marked == [found["predicted"]] == Run(studio_runs / "spans").predict([(question, passage)])


def test_a_changed_model_is_refused_as_predict_refuses_it(ask, studio_runs):
    shutil.copytree(studio_runs / "labels", studio_runs / "changed")
    with (studio_runs / "changed" / "model" / "model.safetensors").open("r+b") as stream:
        stream.seek(-4, 2)
        stream.write(b"\x00\x00\x00\x01")
    status, _, found = ask("/api/answer", {"id": "changed", "text": "a film"})
    shutil.rmtree(studio_runs / "changed")
    assert status == 409
    assert "digest" in json.loads(found)["found"]


def test_a_text_is_written_piece_by_piece_as_predict_writes_it(ask, studio_runs):
    status, headers, found = ask("/api/write", {"id": "writes", "text": ASKED})
    events = [dict(line.split(": ", 1) for line in each.split("\n")) for each in found.decode().strip().split("\n\n")]
    assert (status, headers["content-type"].split(";")[0], events[-1]["event"]) == (200, "text/event-stream", "done")
    written = "".join(json.loads(each["data"]) for each in events[:-1])
    assert written.strip() == Run(studio_runs / "writes").predict([ASKED])[0] != ""
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
def run(studio_runs):
    return Run(studio_runs / "labels")


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


def test_a_port_that_is_taken_and_a_folder_that_is_none(studio_server, studio_runs, tmp_path):
    with pytest.raises(UsageError, match="can't listen on port"):
        verb.opened(studio_runs, urlsplit(studio_server.address).port)
    with pytest.raises(UsageError, match="does not exist"):
        verb.opened(tmp_path / "nowhere", 0)
