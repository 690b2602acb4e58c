"""Runs for other runtimes: each form answers as the run does, or is refused and leaves nothing."""

import contextlib
import io
import json

import numpy as np
import pytest
import tokenizers
import torch
import transformers
from tests.conftest import WORDS, make_base, rows_of, write_csv
from tests.tiny_models import saved

import rootstock as rs
from rootstock.bases import graph, graph_causal
from rootstock.core.errors import ContractRefused, MergeRefused, UsageError
from rootstock.verbs import export as exporting
from rootstock.verbs import export_int8, export_vllm
from rootstock.verbs.export import Options

QUICK = {"epochs": 2, "rate": 2e-2, "batch_tokens": 64, "precision": "fp32"}


def export(run, to, out, **options):
    return exporting.export([run.path], to, out, Options(**options), lambda text: None)


def byte_pairs():
    """Byte-level BPE as GPT-2 has it, over the words of the tests."""
    inner = tokenizers.Tokenizer(tokenizers.models.BPE())
    inner.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=300, special_tokens=["<s>", "</s>"], initial_alphabet=alphabet, show_progress=False)
    inner.train_from_iterator([" ".join(WORDS)] * 3, trainer)
    return transformers.PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="</s>", pad_token="</s>")


def uncased():
    """BERT's own way to part words, over the words of the tests."""
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, "##s"]
    inner = tokenizers.Tokenizer(tokenizers.models.WordPiece({name: i for i, name in enumerate(names)}, unk_token="[UNK]"))
    inner.normalizer = tokenizers.normalizers.BertNormalizer(lowercase=True)
    inner.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    inner.post_processor = tokenizers.processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    special = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=inner, model_max_length=64, **special)


@pytest.fixture(scope="module")
def writer(tmp_path_factory):
    """A LoRA of a llama that writes: two key heads for four of queries, and a head as wide as llama.cpp's blocks want."""
    place, tokens = tmp_path_factory.mktemp("writer"), byte_pairs()
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 64}
    config = transformers.LlamaConfig(
        **shape, vocab_size=len(tokens) + 3, max_position_embeddings=128, initializer_range=0.2, bos_token_id=0, eos_token_id=1
    )
    base = saved(transformers.LlamaForCausalLM(config), tokens, place / "base")
    data = write_csv(place / "said.csv", [(text, f"{text} good") for text, _ in rows_of(40)], header=("prompt", "completion"))
    return rs.adapt(data, base=str(base), method="lora", training={"steps": 2, "rate": 1e-2, "precision": "fp32"}, out=place / "poet")


# -- vLLM -----------------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")
def test_a_folder_for_vllm_has_the_runs_own_adapter_and_the_command(writer, tmp_path):
    from peft import PeftModel

    found = export(writer, "vllm", tmp_path / "out")
    base = writer.recipe.base
    assert found["command"] == f"vllm serve {base} --enable-lora --max-lora-rank 8 --max-loras 1 --lora-modules poet=./poet"
    assert found["command"] in (tmp_path / "out" / "README.md").read_text()
    assert {path.name for path in (tmp_path / "out" / "poet").iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}
    ids = torch.tensor([[5, 9, 12, 7]])
    with torch.no_grad():
        plain = transformers.AutoModelForCausalLM.from_pretrained(base)
        adapted = PeftModel.from_pretrained(plain, tmp_path / "out" / "poet").eval()(input_ids=ids).logits
        torch.testing.assert_close(adapted, writer.load().eval()(input_ids=ids).logits, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"use_dora": True}, "DoRA"),
        ({"r": 1024}, "rank 1024"),
        ({"bias": "all"}, "biases"),
        ({"alpha_pattern": {"q": 1}}, "differ among layers"),
        ({"peft_type": "IA3"}, "no LoRA"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_vllm_does_not_take_is_refused_with_its_reason(writer, changed, said):
    config = json.loads((writer.folder.model / "adapter_config.json").read_text())
    export_vllm.check(config, writer)
    with pytest.raises(MergeRefused, match=said):
        export_vllm.check(config | changed, writer)


def test_a_classifier_and_runs_of_one_name_are_not_for_vllm(adapt, writer, tmp_path):
    run = adapt(method="lora", training=QUICK, out="lora")
    with pytest.raises(UsageError, match="vllm"):
        export(run, "vllm", tmp_path / "out")
    with pytest.raises(ContractRefused, match="base"):
        exporting.export([writer.path, run.path], "vllm", tmp_path / "out", Options(), lambda text: None)
    with pytest.raises(UsageError, match="two runs are called poet"):
        exporting.export([writer.path, writer.path], "vllm", tmp_path / "out", Options(), lambda text: None)
    assert not (tmp_path / "out").exists()


def test_options_of_other_forms_are_refused(writer, tmp_path):
    with pytest.raises(UsageError, match="--precision"):
        export(writer, "vllm", tmp_path / "out", precision="f16")
    with pytest.raises(UsageError, match="--tolerance"):
        export(writer, "merged", tmp_path / "out", tolerance=0.1)


# -- GGUF -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("precision", "apart"), [("f32", 0.0), ("f16", 2**-11), ("q8_0", 0.0049)])
def test_a_gguf_file_is_what_another_reader_reads(writer, tmp_path, precision, apart):
    pytest.importorskip("gguf", reason="the extra gguf is not installed")
    found = export(writer, "gguf", tmp_path / "out", precision=precision)
    assert found["compared"]["largest_difference"] <= apart
    assert (found["compared"]["largest_difference"] > 0) == (precision != "f32")
    from gguf import GGUFReader

    held = GGUFReader(str(tmp_path / "out" / "model.gguf"))
    names = [
        bytes(part).decode() for part in (held.fields["tokenizer.ggml.tokens"].parts[i] for i in held.fields["tokenizer.ggml.tokens"].data)
    ]
    assert names[: len(writer.tokenizer)] == writer.tokenizer.convert_ids_to_tokens(list(range(len(writer.tokenizer))))
    assert names[-1] == f"[PAD{len(names) - 1}]"
    with contextlib.redirect_stderr(io.StringIO()):
        read = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out", gguf_file="model.gguf").eval()
    ids = torch.tensor([[5, 9, 12, 7, 30]])
    with torch.no_grad():
        wanted, made = (each(input_ids=ids).logits for each in (writer.load().eval(), read))
    assert float((wanted - made).abs().max()) < {"f32": 1e-5, "f16": 5e-3, "q8_0": 0.2}[precision] * float(wanted.std())


def test_a_model_of_vectors_is_written_with_its_pooling(tmp_path):
    gguf = pytest.importorskip("gguf", reason="the extra gguf is not installed")
    make_base(tmp_path / "base")
    uncased().save_pretrained(tmp_path / "base")
    data = write_csv(tmp_path / "pairs.csv", [(text, f"{text} film") for text, _ in rows_of(40)], header=("anchor", "positive"))
    run = rs.adapt(data, base=str(tmp_path / "base"), task="embedding", method="lora", training={"steps": 2}, out=tmp_path / "run")
    found = export(run, "gguf", tmp_path / "out", precision="f32")
    assert found["compared"]["largest_difference"] == 0
    held = gguf.GGUFReader(str(tmp_path / "out" / "model.gguf"))
    assert held.fields["bert.pooling_type"].contents() == gguf.PoolingType.MEAN
    assert held.fields["tokenizer.ggml.tokens"].contents()[4:6] == ["[MASK]", "▁good"]
    assert held.fields["tokenizer.ggml.tokens"].contents()[len(WORDS) + 5] == "s"


def test_what_llama_cpp_would_read_otherwise_is_refused(adapt, tmp_path):
    pytest.importorskip("gguf", reason="the extra gguf is not installed")
    with pytest.raises(UsageError, match="WordLevel"):
        export(adapt(method="lora", training=QUICK, out="lora"), "gguf", tmp_path / "out")
    assert not (tmp_path / "out").exists()


# -- ONNX -----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def onnx():
    for name in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(name, reason="the extra onnx is not installed")


def told(folder, monkeypatch):
    """What the card's example prints in its folder."""
    card = (folder / "README.md").read_text()
    code = card.partition("```python\n")[2].partition("```")[0]
    monkeypatch.chdir(folder)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(code.replace("a first text", "a very good film").replace("a second text", "bad"), "card", "exec"), {})
    return said.getvalue().strip()


@pytest.mark.filterwarnings("ignore")
def test_a_graph_answers_as_its_run_and_its_card_shows_how(onnx, adapt, tmp_path, monkeypatch):
    from rootstock.verbs.scanning import check

    run = adapt(method="lora", training=QUICK, out="lora")
    found = export(run, "onnx", tmp_path / "out")
    assert 0 < found["compared"]["largest_move"] < 1e-4
    assert told(tmp_path / "out", monkeypatch) == str(rs.Run(run.path).predict(["a very good film", "bad"]))
    data = (tmp_path / "out" / "model.onnx").read_bytes()
    assert b"/rootstock/" not in data
    assert b"stack_trace" not in data
    assert not check([str(tmp_path / "out")], "text", "strict")[1].findings
    small = export(run, "int8", tmp_path / "small")
    assert small["compared"]["agreement"] >= 0.98
    assert small["bytes"] < small["whole_bytes"]
    assert set(small["speed"]["rows_per_second"]) == {"the run", "onnx", "int8"}
    assert not (tmp_path / "small" / "whole.onnx").exists()
    monkeypatch.setattr("rootstock.run.merge.largest_move", lambda before, after: float("nan"))
    with pytest.raises(MergeRefused, match="moves an answer"):
        export(run, "onnx", tmp_path / "again")
    assert not (tmp_path / "again").exists()


@pytest.mark.filterwarnings("ignore")
def test_vectors_are_pooled_and_of_length_one_inside_the_graph(onnx, tiny_base, tmp_path, monkeypatch):
    data = write_csv(tmp_path / "pairs.csv", [(text, f"{text} film") for text, _ in rows_of(40)], header=("anchor", "positive"))
    run = rs.adapt(data, base=str(tiny_base), task="embedding", training={"steps": 2}, out=tmp_path / "run")
    found = export(run, "onnx", tmp_path / "out")
    assert found["outputs"] == ["sentence_embedding"]
    made = np.array([float(each) for each in told(tmp_path / "out", monkeypatch).replace("[", " ").replace("]", " ").split()])
    np.testing.assert_allclose(made, np.ravel(rs.Run(run.path).predict(["a very good film", "bad"])), atol=2e-3)


@pytest.mark.filterwarnings("ignore")
def test_tags_and_spans_have_graphs(onnx, adapt, tmp_path):
    lines = [f"{word}\t{'T' if word in ('good', 'bad') else 'O'}" for text, _ in rows_of(40) for word in [*text.split(), ""]]
    (tmp_path / "tags.conll").write_text("\n".join(line if line[0] != "\t" else "" for line in lines) + "\n")
    tags = adapt(training=QUICK, data=tmp_path / "tags.conll", out="tags")
    assert export(tags, "onnx", tmp_path / "words")["outputs"] == ["logits"]
    rows = [("good", text, next(word for word in text.split() if word in WORDS[:10])) for text, _ in rows_of(40)]
    asked = write_csv(tmp_path / "asked.csv", rows, header=("question", "context", "answers"))
    spans = adapt(training=QUICK, data=asked, task="question-answering", out="spans")
    assert export(spans, "onnx", tmp_path / "spans-onnx")["outputs"] == ["start_logits", "end_logits"]


@pytest.mark.filterwarnings("ignore")
def test_a_graph_that_writes_goes_on_with_what_it_kept(onnx, writer, tmp_path, monkeypatch):
    found = export(writer, "onnx", tmp_path / "out")
    assert (found["keeps"], found["ends"]) == ({"layers": 2, "heads": 2, "width": 8}, [1])
    assert 0 < found["compared"]["largest_move"] < 1e-4
    assert 0 < found["compared"]["largest_move_in_two"] < 1e-4
    model, tokens = rs.Run(writer.path).load().eval(), writer.tokenizer
    ids = tokens("a very good film", return_tensors="pt").input_ids
    plain = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=32, do_sample=False)[0, ids.shape[1] :]
    assert told(tmp_path / "out", monkeypatch) == tokens.decode([each for each in plain.tolist() if each != 1]).strip()
    with pytest.raises(UsageError, match="text-generation --to int8"):
        export(writer, "int8", tmp_path / "small")


BROKEN = {
    "a guard": RuntimeError("Constraints violated (rows)!"),
    "an operator": torch.onnx.errors.OnnxExporterError("no translation\nand more"),
    "an assert inside": AssertionError(),
    "a lookup": KeyError("aten::strange"),
    "a type": TypeError("unsupported"),
}


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_whatever_a_tracer_raises_is_told_as_a_model_that_is_no_graph(tmp_path, monkeypatch, name):
    def export(*given, **more):
        raise BROKEN[name]

    monkeypatch.setattr(torch.onnx, "export", export)
    monkeypatch.setattr(graph, "needed", lambda *given, **more: None)
    parts = graph.Parts(inputs=["x"], outputs=["y"], sample=[torch.ones(2)], axes=({0: "rows"},))
    with pytest.raises(UsageError, match="Linear can't be traced: ") as told:
        graph.trace(torch.nn.Linear(2, 2), parts, tmp_path / "model.onnx", name="Linear")
    assert "\n" not in told.value.found


def test_no_memory_is_no_fault_of_the_model(tmp_path, monkeypatch):
    def export(*given, **more):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(torch.onnx, "export", export)
    monkeypatch.setattr(graph, "needed", lambda *given, **more: None)
    parts = graph.Parts(inputs=["x"], outputs=["y"], sample=[torch.ones(2)], axes=({0: "rows"},))
    with pytest.raises(RuntimeError, match="allocate memory"):
        graph.trace(torch.nn.Linear(2, 2), parts, tmp_path / "model.onnx", name="Linear")


def test_what_each_token_of_a_call_sees():
    mask_BS = torch.tensor([[0, 1, 1, 1], [1, 1, 1, 1]])
    seen = graph_causal.mask_of(torch.zeros((2, 2), dtype=torch.int64), mask_BS) == 0
    assert seen.int().tolist() == [[[[0, 1, 1, 0], [0, 1, 1, 1]]], [[[1, 1, 1, 0], [1, 1, 1, 1]]]]


def test_a_model_that_keeps_something_else_is_refused():
    from transformers import MistralConfig, MistralForCausalLM

    shape = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 16}
    model = MistralForCausalLM(MistralConfig(**shape, vocab_size=8, sliding_window=4))
    with pytest.raises(UsageError, match="keeps something else"):
        graph_causal.shape_of(model)
    whole = MistralForCausalLM(MistralConfig(**shape, vocab_size=8, sliding_window=None))
    assert graph_causal.shape_of(whole) == graph_causal.Shape(layers=1, heads=1, width=8)


def test_eight_bits_are_refused_by_agreement_and_by_a_loss_that_the_rows_tell():
    found = {"agreement": 0.97, "answers": 1000, "rows": 1000, "figure": "accuracy", "drop": 0.01, "interval": (0.004, 0.016)}
    with pytest.raises(MergeRefused, match=r"97\.00%"):
        export_int8.check(found | {"separable": False}, None)
    with pytest.raises(MergeRefused, match=r"accuracy is worse by 0\.0100"):
        export_int8.check(found | {"agreement": 0.99, "separable": True}, None)
    export_int8.check(found | {"separable": True}, 0.05)
    export_int8.check(found | {"agreement": 0.99, "separable": False}, None)


def test_how_many_answers_of_eight_bits_are_equal_is_told_by_rows_not_by_words():
    rows, words = 40, 25
    tags = [["O"] * words for _ in range(rows)]
    wrong = [["B"] * words if row < 4 else each for row, each in enumerate(tags)]
    found = export_int8.agreement(tags, wrong, np.arange(rows), seed=0)
    assert (found["answers"], found["agreement"]) == (rows * words, 0.9)
    alone = export_int8.agreement([each[:1] for each in tags], [each[:1] for each in wrong], np.arange(rows), seed=0)
    assert found["agreement_interval"] == pytest.approx(alone["agreement_interval"]), "25 words that go together tell no more than one"
    half = export_int8.agreement(tags, wrong, np.arange(rows) // 2, seed=0)
    assert half["agreement_interval"][0] < found["agreement_interval"][0], "and equal rows no more than one of them"
    sets = export_int8.agreement([[["a", "b"]], [["c"]]], [[["a"]], [["c"]]], np.arange(2), seed=0)
    assert (sets["answers"], sets["agreement"]) == (2, 0.5), "several labels of a row are one answer"
    numbers = export_int8.agreement([[0.0], [10.0]], [[0.4], [10.6]], np.arange(2), seed=0)
    assert numbers["agreement"] == 0.5, "within a tenth of the spread, which is 5"
