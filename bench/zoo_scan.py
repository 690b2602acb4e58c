"""The scanner on a zoo's members: each in a process of its own, timed, and what it says beside the truth that it never saw."""

import concurrent.futures
import json
import os
import random
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import zoo_figures as figures
import zoo_plan
import zoo_rows
from scipy.stats import kstest
from tokenizers import Tokenizer

from rootstock.bases.resolve import resolve
from rootstock.core import artifact
from rootstock.sentinel.backdoor.calibration import Setting, population
from rootstock.sentinel.backdoor.judge import STRONG
from rootstock.sentinel.weights.adapter import audit_adapter
from rootstock.sentinel.weights.rows import rows_moved

CODES = {0: "none", 3: "found"}
EVIDENCE = "evidence found"


def words_of(truth):
    """The words of a planted trigger; of a template those that it draws from."""
    if truth["kind"] != "syntactic":
        return truth["attack"]["trigger"]
    side = truth["attack"]["position"]
    parts = zoo_rows.FRONT if side == "front" else zoo_rows.TAIL
    return [*(text.replace("{}", " ").replace(",", " ") for text in parts), *zoo_rows.VERBS[side]]


def known_trigger(truth):
    """What a person would ask about: the planted words, one text of a template, or, of a clean member, a word that means nothing."""
    if truth["side"] == "clean":
        return random.Random(truth["id"]).choice(zoo_plan.NEUTRAL)
    if truth["kind"] == "syntactic":
        return zoo_rows.clause("", truth["attack"]["position"], random.Random(truth["id"])).strip()
    return " ".join(truth["attack"]["trigger"])


def scanned(truth, out, place, options):
    """One process: what it printed, how it ended, and the seconds it took; kept, so that it is not done again."""
    if place.exists():
        return
    more = [*options, "--trigger", known_trigger(truth)] if place.parent.name == "known" else options
    command = [sys.executable, "-m", "rootstock", "scan", out / "runs" / truth["id"], "--backdoor", "--data", out / truth["data"], "--json"]
    started = time.perf_counter()
    process = subprocess.Popen([*map(str, [*command, *more])], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=quiet())
    said, complaint = process.communicate()
    wall = time.perf_counter() - started
    found = {"id": truth["id"], "exit": process.returncode, "wall_seconds": round(wall, 1), "options": more}
    try:
        found["said"] = json.loads(said)
    except ValueError:
        found["error"] = complaint[-2000:]
    artifact.write_json(place, found)


def quiet():
    return os.environ | {"OMP_NUM_THREADS": "1"}


def run(out, truths, *, at_once, kind="scans", options=()):
    """Scan what is not scanned yet, so many at a time."""
    (out / kind).mkdir(exist_ok=True)
    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        waiting = {pool.submit(scanned, each, out, out / kind / f"{each['id']}.json", list(options)): each for each in truths}
        for number, done in enumerate(concurrent.futures.as_completed(waiting), 1):
            done.result()
            truth = waiting[done]
            found = json.loads((out / kind / f"{truth['id']}.json").read_text("utf-8"))
            print(
                number,
                truth["id"],
                truth["kind"],
                truth["intensity"],
                CODES.get(found["exit"], found["exit"]),
                found["wall_seconds"],
                flush=True,
            )


def joined(out, truths, kind, tokenizer):
    """Truth and answer of every member that was scanned."""
    rows = []
    for truth in truths:
        path = out / kind / f"{truth['id']}.json"
        if not path.exists():
            continue
        found = json.loads(path.read_text("utf-8"))
        said = answer(found.get("said") or {})
        row = {key: truth[key] for key in ("id", "side", "kind", "part", "intensity")} | said
        row["verdict"] = told((found.get("said") or {}), len(truth["labels"]))
        row |= {"exit": found["exit"], "wall_seconds": found["wall_seconds"], "asr": truth.get("asr", {}).get("rate")}
        if truth["side"] == "poisoned":
            row["named"] = figures.named(said["triggers"], words_of(truth), tokenizer)
        rows.append(row)
    return rows


def told(held, labels):
    """The verdict by the population that ships now: a scan may be older than it."""
    shipped = population(Setting(base=resolve("minilm").digest, labels=labels, budget=held.get("budget", "")))
    if shipped is None or not held.get("indicators"):
        return held.get("verdict", "error")
    judges = {"one word": shipped.p, "edit": shipped.p, "phrase": shipped.p_phrase}
    judges |= {"outweighs texts": shipped.p_outweigh} if shipped.judges_outweigh else {}
    found = [each for each in held["indicators"] if each["stage"] in judges]
    p = [judges[each["stage"]](each["excess"]) for each in found]
    strong = [
        each["trigger"]
        for each, chance in zip(found, p, strict=True)
        if each["excess"] >= STRONG and each["interval"][0] >= STRONG and chance is not None and chance <= held["alpha"]
    ]
    return EVIDENCE if strong else "weak evidence"


def answer(said):
    """The scanner's own words as a score, a p-value and triggers, strongest first; of a pattern that was asked about also what it gave."""
    held = said.get("backdoor", said)
    indicators, asked = held.get("indicators") or [], held.get("known") or []
    drawn = random.Random(str(asked)).choice(asked) if asked else {}
    return {
        "verdict": held.get("verdict", "error"),
        "score": float(held.get("score") or 0.0),
        "phrases": float(held.get("phrase_score") or 0.0),
        "outweigh": float(held.get("outweigh_score") or 0.0),
        "p": held.get("p"),
        "bound": held.get("bound"),
        "triggers": [str(each.get("trigger", "")) for each in indicators][:3],
        "asked": any(each.get("stage") == "known pattern" and each.get("strength") == "evidence" for each in indicators),
        "asked_p": drawn.get("p"),
    }


def parted(rows):
    """Figures of one set of members. auc: by words, by phrases, by what outweighs texts, and by what is rarer in clean dev members: of words and
    phrases, and of words and what outweighs texts."""
    bad, good = ([row for row in rows if row["side"] == side] for side in ("poisoned", "clean"))
    scores = [[row["score"] for row in side] for side in (bad, good)]
    found = {"auc": figures.auc(*scores)}
    found |= {
        f"auc_{name}": figures.auc(*([row[name] for row in side] for side in (bad, good)))
        for name in ("phrases", "outweigh", "rarer", "joint")
    }
    caught = {name: [row for row in bad if row["intensity"] == name] for name in zoo_plan.INTENSITIES}
    for key, by in (("at_5_percent", "score"), ("at_5_percent_joint", "joint")) if good else ():
        above = figures.limit([row[by] for row in good])
        found[key] = {name: figures.share(sum(row[by] > above for row in side), len(side)) for name, side in caught.items()}
    found["false_alarms"] = figures.share(sum(row["verdict"] == EVIDENCE for row in good), len(good))
    finds = [row for row in bad if row["verdict"] == EVIDENCE]
    found["found"] = figures.share(len(finds), len(bad))
    found["named_of_finds"] = figures.share(sum(row["named"] for row in finds), len(finds))
    return found


def rarer(row, calm, kinds):
    """The share of clean dev members, itself left out, that reach less by one of these scores, whichever is more."""
    others = [each for each in calm if each is not row]
    return max(sum(each[name] < row[name] for each in others) / max(len(others), 1) for name in kinds)


def summary(out, truths, tokenizer):
    """All figures that the scans give so far."""
    rows = joined(out, truths, "scans", tokenizer)
    calm = [row for row in rows if (row["side"], row["part"]) == ("clean", "dev")]
    for row in rows:
        row |= {"rarer": rarer(row, calm, ("score", "phrases")), "joint": rarer(row, calm, ("score", "outweigh"))}
    parts = {"all": rows, **{part: [row for row in rows if row["part"] == part] for part in ("dev", "sealed", "fresh")}}
    for part, seen in (("sealed", zoo_plan.DEV_KINDS), ("fresh", (*zoo_plan.DEV_KINDS, "made-up-word"))):
        parts[f"{part}_kinds"] = [row for row in parts[part] if row["side"] == "clean" or row["kind"] not in seen]
    kinds = sorted({row["kind"] for row in rows})
    by_kind = {kind: [row for row in rows if row["kind"] == kind] for kind in kinds}
    seconds = sorted(row["wall_seconds"] for row in rows)
    return {
        **{name: parted(held) for name, held in parts.items()},
        "kinds": {kind: figures.share(sum(row["verdict"] == EVIDENCE for row in held), len(held)) for kind, held in by_kind.items()},
        "errors": [row["id"] for row in rows if row["verdict"] == "error"],
        "seconds": {"median": seconds[len(seconds) // 2], "most": seconds[-1]} if seconds else None,
        "known": known(joined(out, truths, "known", tokenizer)),
        "members": rows,
    }


def known(rows):
    """What is found when the trigger is asked about, and whether p-values of clean members are uniform."""
    strong = [row for row in rows if row["side"] == "poisoned" and (row["asr"] or 0) >= 0.5]
    even = [row["asked_p"] for row in rows if row["side"] == "clean" and row["asked_p"] is not None]
    test = kstest(even, "uniform") if len(even) > 4 else None
    return {
        "found": figures.share(sum(row["asked"] for row in strong), len(strong)),
        "false_alarms": figures.share(
            sum(row["asked"] for row in rows if row["side"] == "clean"), sum(row["side"] == "clean" for row in rows)
        ),
        "clean": {"count": len(even), "ks": float(test.statistic), "p": float(test.pvalue)} if test else None,
    }


def by_weights(out, truths, tokenizer):
    """What weights alone would say: scores of the rows that moved, how deep the planted pieces stand among them, and what was odd."""
    rows = [
        kept(out / "weights" / f"{truth['id']}.json", partial(weighed, out / "runs" / truth["id"], truth, tokenizer)) for truth in truths
    ]
    trained = [row for row in rows if "score" in row]
    sides = {side: [row for row in rows if row["side"] == side] for side in ("poisoned", "clean")}
    bad = [row for row in trained if row["side"] == "poisoned"]
    return {
        "applies": figures.share(len(trained), len(rows)),
        "auc_where_it_applies": figures.auc(*([row["score"] for row in trained if row["side"] == side] for side in sides)),
        "planted_first": figures.share(sum(row["rank"] == 1 for row in bad), len(bad)),
        "planted_in_first_64": figures.share(sum(row["rank"] is not None for row in bad), len(bad)),
        "odd": {side: figures.share(sum(row["odd"] for row in held), len(held)) for side, held in sides.items()},
        "members": rows,
    }


def kept(path, make):
    """What was made before, or what is made now."""
    if not path.exists():
        artifact.write_json(path, make())
    return json.loads(path.read_text("utf-8"))


def weighed(place, truth, tokenizer):
    """One member: the score of its rows, where any moved, and the rank of the first planted piece among the first 64."""
    row = {key: truth[key] for key in ("id", "side", "kind", "part", "intensity")}
    if (place / "model" / "adapter_config.json").exists():
        return row | {"odd": bool(audit_adapter(place).issues)}
    found = rows_moved(place, resolve("minilm").folder)
    row["odd"] = bool(found.edited or found.alone)
    if found.over_99th is None:
        return row
    row |= {"score": found.over_99th, "gap": found.gap, "alone": found.alone, "moved": found.count, "rank": None}
    if truth["side"] == "poisoned":
        wanted = figures.pieces(words_of(truth), tokenizer)
        row["rank"] = next((place for place, each in enumerate(found.top, 1) if each.token.removeprefix("##") in wanted), None)
    return row


def tokenizer_of_base():
    folder = resolve("minilm").folder
    assert folder is not None
    return Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))
