"""The verb probe: what it measures on tiny models, what it writes, and each thing that can be wrong."""

import json
import random

import numpy as np
import pytest
import transformers
from PIL import Image
from tests.conftest import WORDS, make_tokenizer
from tests.tiny_models import causal_model, clip_model, masked_model, saved, seq2seq_model, vit_model, with_bos

from rootstock.core.artifact import digest_file
from rootstock.core.runfolder import RunFolder
from rootstock.data import images
from rootstock.data.gallery import hang
from rootstock.data.unlabelled import held_out

TAGS = ["ADJ", "NOUN", "VERB", "DET"]


def treebank(path, sentences, seed):
    draws = random.Random(seed)
    lines = []
    for i in range(sentences):
        lines += [f"# newdoc id = {path.stem}{i // 6}"] if i % 6 == 0 else []
        for number in range(1, draws.randint(4, 8)):
            word = draws.choice(WORDS)
            lines.append(f"{number}\t{word}\t_\t{TAGS[WORDS.index(word) % 4]}" + "\t_" * 6)
        lines.append("")
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def place(tmp_path_factory, tiny_base):
    folder = tmp_path_factory.mktemp("probes")
    saved(masked_model(), with_bos(), folder / "masked")
    saved(causal_model(), with_bos(), folder / "causal")
    saved(seq2seq_model(), with_bos(), folder / "seq2seq")
    (folder / "bank").mkdir()
    for i, (split, sentences) in enumerate({"train": 60, "dev": 30, "test": 30}.items()):
        treebank(folder / "bank" / f"x-{split}.conllu", sentences, i)
    about = {"UID": "adjectives", "linguistics_term": "agreement", "field": "morphology"}
    pairs = [{"sentence_good": f"the {a} was good", "sentence_bad": f"the {a} good was", **about} for a in WORDS]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(each) + "\n" for each in pairs))
    saved(vit_model(), make_tokenizer(), folder / "vit")
    saved(clip_model(make_tokenizer()), make_tokenizer(), folder / "clip")
    rng = np.random.default_rng(0)
    for name, colour in {"cold_book": (30, 30, 220), "warm": (220, 60, 30)}.items():
        (folder / "photos" / name).mkdir(parents=True)
        for number in range(30):
            noisy = np.clip(rng.normal(colour, 30, (20, 24, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(noisy).save(folder / "photos" / name / f"{number}.png")
    (folder / "photos" / "warm" / "broken.png").write_bytes(b"no image")
    (folder / "photos" / "stray.png").write_bytes(b"of no class")
    (folder / "broken.jsonl").write_text('{"sentence_good": "x"}\n')
    (folder / "other").mkdir()
    (folder / "other" / "thesis.txt").write_text("years of work")
    return folder


@pytest.fixture(autouse=True)
def at(place, monkeypatch):
    monkeypatch.chdir(place)
    monkeypatch.delenv("ROOTSTOCK_DATA", raising=False)


@pytest.mark.parametrize("model", ["masked", "causal"])
def test_a_language_model_answers_every_suite(command, model, tmp_path):
    line = f"probe {model} --data pairs.jsonl --data bank --limit 1 --out {tmp_path / 'out'}"
    code, out, err = command(f"{line} --json")
    assert code == 0, err
    found = json.loads(out)
    assert set(found["suites"]) == {"blimp", "pos", "order"}
    blimp, pos, order = (found["suites"][name] for name in ("blimp", "pos", "order"))
    assert (blimp["pairs"], [row["name"] for row in blimp["terms"]]) == (1, ["agreement"])
    assert ("pseudo" in blimp["score"]) == (model == "masked")
    assert [row["layer"] for row in pos["layers"]] == [row["layer"] for row in order["layers"]] == [0, 1, 2]
    assert pos["layers"][0]["accuracy"]["value"] == 1.0  # the embeddings know the word, and here the word is the tag
    assert pos["tags"].keys() == set(TAGS)
    assert all(suite["random"] for suite in (blimp, pos, order))
    assert json.loads((tmp_path / "out" / "probes.json").read_text()) == found
    html = (tmp_path / "out" / "probes.html").read_text()
    assert all(f'id="figure-{key}"' in html for key in ("heat", "pos", "order", "phenomena"))
    assert "http" not in html.split("plotly.js", 1)[0].replace("http-equiv", "")


def test_the_same_seed_gives_the_same_figures(command):
    first, again, other = (
        json.loads(command(f"probe masked --data bank --suite pos --limit 1 --no-beside-random --seed {seed} --json")[1])["suites"]
        for seed in (3, 3, 4)
    )
    assert first == again != other


def test_text_says_the_same_as_json(command):
    code, out, _ = command("probe masked --suite blimp --data pairs.jsonl --limit 20 --no-beside-random")
    told = json.loads(command("probe masked --suite blimp --data pairs.jsonl --limit 20 --no-beside-random --json")[1])["suites"]["blimp"]
    assert code == 0
    assert "random" not in told
    assert [line.split()[:3] for line in out.splitlines() if line.startswith("agreement")] == [
        ["agreement", "20", f"{told['accuracy']:.3f}"]
    ]


def test_a_base_without_a_head_leaves_blimp_out_with_a_line(command, tiny_base):
    code, out, err = command(f"probe {tiny_base} --data pairs.jsonl --data bank --limit 1 --no-beside-random")
    assert code == 0
    assert "blimp     left out: BertModel has no head" in err
    assert "parts of speech" in out
    code, _, err = command(f"probe {tiny_base} --suite blimp,pos --data pairs.jsonl --data bank")
    assert code == 2
    assert "BertModel has no head" in err


def test_an_encoder_and_decoder_shows_the_layers_of_its_encoder(command):
    code, out, _ = command("probe seq2seq --data bank --suite pos --limit 1 --no-beside-random --json")
    assert code == 0
    assert len(json.loads(out)["suites"]["pos"]["layers"]) == 3


def test_an_image_model_tells_class_folders_apart(command, tmp_path):
    code, out, err = command(f"probe vit --data images=photos --json --out {tmp_path / 'out'}")
    assert code == 0, err
    found = json.loads(out)["suites"]["images"]
    assert found["images"]["train"] + found["images"]["test"] == 60
    assert found["left_out"] == {"no image": 1, "in no class folder": 1}
    assert found["accuracy"]["value"] == 1.0 > found["accuracy"]["interval"][0] > 0.5  # the colour is the class
    assert set(found) >= {"random", "gain"}
    assert "zero_shot" not in found
    assert "1 no image, 1 in no class folder" in err
    html = (tmp_path / "out" / "probes.html").read_text()
    assert 'id="images"' in html
    assert "linear probe, random weights" in html


def test_a_model_of_captions_is_asked_by_captions_alone_as_well(command, place):
    line = "probe clip --data photos --no-beside-random --seed 3"
    code, out, err = command(f"{line} --caption 'a very {{}}'")
    assert code == 0, err
    found = json.loads(command(f"{line} --json")[1])["suites"]["images"]
    assert found["zero_shot"]["captions"] == ["a photo of a cold book", "a photo of a warm"]
    assert 'zero-shot, "a very {}"' in out
    assert "random" not in out
    assert "the model was trained on any of these images is not known" in out
    swapped = json.loads(command(f"{line} --json --caption '{'very ' * 20}{{}}'")[1])["suites"]["images"]["zero_shot"]
    assert swapped["cut"] == 2


def test_what_a_run_held_out_is_what_is_measured_and_its_report_leads_to_the_page(command, place, tmp_path):
    run = tmp_path / "run"
    saved(clip_model(make_tokenizer()), make_tokenizer(), run / "model")
    (run / "recipe.yaml").write_text(
        f"base: scratch:clip-tiny\ntask: {{name: contrastive-image-text, caption: the {{}}}}\nseed: 7\n"
        f"data: {{train: {place / 'photos'}, validation: 0.5}}\n".replace("the {}", "'the {}'")
    )
    (run / "report.html").write_text("<header>\n<h1>run</h1>\n</header>")
    shelf = images.shelf(str(place / "photos"))
    (run / "manifest.json").write_text(json.dumps({"seed": 7, "data": {"photos": {"sha256": shelf.digest}}, "files": {}}))
    line = f"probe {run} --data images={place / 'photos'} --no-beside-random --json"
    code, out, err = command(f"{line} --out {run}")
    assert code == 0, err
    found = json.loads(out)["suites"]["images"]
    assert found["held_out_by_its_run"]
    gallery = hang([shelf.only([i for i, text in enumerate(shelf.texts) if text])], 16, captioned=False)
    assert found["images"]["test"] == held_out(gallery.digests(), 0.5, 7).sum()
    assert found["zero_shot"]["template"] == "the {}"
    report = (run / "report.html").read_text()
    assert report.count('href="probes.html"') == 1
    files = json.loads((run / "manifest.json").read_text())["files"]
    assert files["report.html"] == digest_file(run / "report.html")
    assert set(files) >= {"probes.json", "probes.html"}
    assert RunFolder(run).strangers() == []
    assert "already holds probes" in command(f"{line} --out {run}")[2]
    assert command(f"{line} --out {run} --overwrite")[0] == 0
    assert (run / "report.html").read_text() == report
    assert "holds other files" in command(f"probe vit --data photos --out {run} --overwrite")[2]


def test_the_environment_can_name_the_data(command, place, monkeypatch):
    (place / "all").mkdir()
    (place / "all" / "blimp").symlink_to(place / "pairs.jsonl")
    monkeypatch.setenv("ROOTSTOCK_DATA", str(place / "all"))
    code, out, _ = command("probe causal --limit 1 --no-beside-random --json")
    assert code == 0
    assert set(json.loads(out)["suites"]) == {"blimp"}


def test_a_checkpoint_without_the_head_that_it_names_is_refused(command, place):
    bare = transformers.BertModel.from_pretrained(place / "masked")
    folder = saved(bare, with_bos(), place / "beheaded")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"architectures": ["BertForMaskedLM"]}))
    code, _, err = command("probe beheaded --data pairs.jsonl")
    assert code == 2
    assert "lacks" in err


CASES = [
    ("masked", "no data for any suite", "--data blimp="),
    ("masked --suite pos --data pairs.jsonl", "no data for pos"),
    ("masked --suite blmip --data pairs.jsonl", "no suite named 'blmip'", "did you mean 'blimp'"),
    ("masked --data blmip=pairs.jsonl", "no suite named 'blmip'"),
    ("masked --data nowhere", "nowhere does not exist"),
    ("masked --data other", "other holds neither a treebank nor minimal pairs nor images"),
    ("masked --data photos", "BertForMaskedLM reads no images", "scratch:vit-tiny"),
    ("vit --data bank", "ViTModel reads images", "--data images=FOLDER"),
    ("vit --data images=photos/warm", "images of 0 classes"),
    ("vit --data images=photos --caption photo", "--caption is 'photo'"),
    ("masked --data broken.jsonl", "broken.jsonl, line 1: no pair"),
    ("masked --data pairs.jsonl --limit 0", "--limit is 0"),
    ("masked --data pairs.jsonl --masking words", "no masking named 'words'", "did you mean 'word'"),
    ("seq2seq --data pairs.jsonl", "T5ForConditionalGeneration has no head"),
    ("maskd --data pairs.jsonl", "maskd"),
    ("masked --data pairs.jsonl --out other", "other holds other files: thesis.txt"),
    ("masked --data pairs.jsonl --out pairs.jsonl", "pairs.jsonl is a file"),
]


@pytest.mark.parametrize(("line", "said"), [(line, said) for line, *said in CASES], ids=[each[0] for each in CASES])
def test_what_is_wrong_is_said(command, line, said):
    code, out, err = command(f"probe {line}")
    assert code == 2, err
    assert out == ""
    for part in said:
        assert part in err
    assert "Traceback" not in err
