"""A run written down: typed, validated, complete. Task and method sections are checked by the class they name."""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from rootstock.core.settings import Settings
from rootstock.core.sizes import in_bytes


class DataSettings(Settings):
    """Where the rows come from and how they are split."""

    train: str | tuple[str, ...] = ()
    """Training rows: a file, parallel files (train.en+train.de), a folder of class folders, hf:<dataset>, or stdlib-docs. For objectives: a
    corpus, or several of them. Needed, unless the task has parts that bring their own."""
    mix: Literal["proportional", "equal"] | float | tuple[float, ...] = "proportional"
    """Shares of several corpora, or of a task's parts, in tokens: by their size, equal, by size with a temperature (a number, larger is
    flatter), or weights."""
    validation: str | float = 0.1
    """A file of validation rows, or the share of the training rows to hold out, in (0, 1)."""
    format: str = "auto"
    """csv, tsv, jsonl, json, parquet, arrow, conll, lines (a text a line) or folder; auto goes by name and content."""
    encoding: str = "auto"
    """Text encoding; auto accepts UTF-8 (with or without a byte-order mark) only, so that no letter is guessed."""
    header: Literal["auto", "yes", "no"] = "auto"
    """Whether the first line names the columns; columns of files without one are called column_1, column_2 …"""
    quoting: Literal["auto", "yes", "no"] = "auto"
    """Whether " quotes fields; auto is yes for CSV, and for TSV only where every quote is paired."""
    exclude: str | None = Field(default=None, min_length=1)
    """CSV file whose column row names training rows to leave out, such as suspects of `inspect --label-noise`. Validation rows stay."""
    canaries: int | None = Field(default=None, ge=2)
    """Plant this many made-up texts among the training rows, so that `scan RUN --memorisation` can measure what is learned by heart."""
    rows: int | None = Field(default=None, ge=2)
    """Use only this many rows (of an objective: documents, pairs or images), drawn with the seed; for trials."""
    languages: tuple[str, ...] = ()
    """For objectives on documents: only those in these languages (en, de), which a built corpus or a column language names. Empty: all."""

    @field_validator("train", mode="before")
    @classmethod
    def _named(cls, value: Any) -> Any:
        if value == "":
            raise ValueError("a file, a folder, or another place of rows")
        return value

    @field_validator("mix")
    @classmethod
    def _above_zero(cls, value: Any) -> Any:
        if isinstance(value, float) and value <= 0:
            raise ValueError("a temperature above 0 (1 is proportional, larger is flatter), proportional, equal, or weights such as [2, 1]")
        if isinstance(value, tuple) and (min(value, default=0) < 0 or not sum(value)):
            raise ValueError("weights of 0 or more, one of them above 0")
        return value

    @field_validator("validation", mode="before")
    @classmethod
    def _file_or_share(cls, value: Any) -> Any:
        if value == "" or (isinstance(value, int | float) and not 0 < value < 1):
            raise ValueError("a share between 0 and 1, such as 0.1, or a file of rows")
        return value


MICRO_TOKENS = 8192
"""Tokens that pass at once where nothing else is asked: MiniLM trains with so many in 1.5 GB."""


class TrainingSettings(Settings):
    """How the loop learns. None means: what the method is known to need, filled in when the run is resolved."""

    epochs: float | None = Field(default=None, gt=0)
    """Passes over the training rows. None: the method's own default, and more where rows are so few that it needs the updates."""
    steps: int | None = Field(default=None, ge=1)
    """Stop after this many updates instead, whatever the epochs say."""
    rate: float | Literal["find"] | None = None
    """Peak learning rate. None: the method's own default. find: by a range test before the training."""
    batch_tokens: int | None = Field(default=None, ge=1)
    """Padded tokens in one update: short rows come in larger batches. None: the method's own default."""
    micro_tokens: int | Literal["find"] | None = None
    """Padded tokens that pass through the model at once; a larger batch is accumulated. Bounds memory; sums change by rounding only.

    find: the most that fit, by trying. None: 8192, and with budget.memory the most that fit into it.
    """
    length: int | None = Field(default=None, ge=4)
    """Tokens kept of a row. None: the longest row, up to what the base can take, so nothing is cut that need not be."""
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    """Rate of each layer relative to the one above it, from the head down; 1 is one rate for all. 0.8 to 0.95 keeps low layers general."""
    cache_layers: Literal["auto", "yes", "no"] = "auto"
    """Whether what frozen blocks give for each token is kept on disk and computed once. auto: where a training earns it back."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """How the rate falls after warm-up; linear and cosine reach zero at the end."""
    warmup: float = Field(default=0.1, ge=0, lt=1)
    """Share of training during which the rate rises from zero; keeps a fresh head from upsetting the base."""
    weight_decay: float | None = Field(default=None, ge=0)
    """AdamW's decay, on matrices only: biases, norms and embeddings are left out. None: the method's own default."""
    clip: float = Field(default=1.0, gt=0)
    """Largest gradient norm."""
    dropout: float | None = Field(default=None, ge=0, lt=1)
    """Dropout inside the base. None: what the method is known to need."""
    average: Literal["none", "ema", "swa"] = "none"
    """Measure and keep a mean of the weights instead of the last ones. ema: one that forgets; swa: of the second half of the training."""
    average_decay: float = Field(default=0.99, ge=0, lt=1)
    """Of an ema: the share of the mean that is kept in each update. 0.99 looks back some hundred updates, a good part of a fine-tuning."""
    adversary: float = Field(default=0.0, ge=0)
    """A step against a row's embedded tokens that hurts most, as a share of their length; learned from as well. 0 is off; 0.1 is much.

    It doubles the time.
    """
    mixup: float = Field(default=0.0, ge=0)
    """Rows are mixed two at a time, by a share from a Beta distribution with this parameter (mixup); encoders only. 0 is off.

    0.2 keeps most rows nearly whole, 1 draws every share alike.
    """
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Arithmetic of the products. auto is bf16 where the processor or GPU has it; weights are always kept in fp32."""
    evaluations: int = Field(default=1, ge=1)
    """Evaluations on the validation rows in each epoch."""
    patience: int = Field(default=0, ge=0)
    """Stop after this many evaluations without a better score; 0 never stops early. The best state is kept either way."""
    checkpoint_minutes: float = Field(default=5.0, gt=0)
    """Minutes between checkpoints; one is also written when interrupted."""
    checkpoint_steps: int | None = Field(default=None, ge=1)
    """Write a checkpoint every so many updates instead."""
    keep: int = Field(default=2, ge=1)
    """Checkpoints kept on disk; an older one serves where the newest is damaged."""

    @property
    def micro(self) -> int:
        """micro_tokens as a number; the usual one where the most that fit are still to be found."""
        return self.micro_tokens if isinstance(self.micro_tokens, int) else MICRO_TOKENS

    @field_validator("rate", "micro_tokens")
    @classmethod
    def _more_than_nothing(cls, value: Any) -> Any:
        if isinstance(value, int | float) and value <= 0:
            raise ValueError("more than 0, or find")
        return value


class TeacherSettings(Settings):
    """A finished run to learn from beside the labels (distillation), on the same task with the same label names."""

    run: str | None = Field(default=None, min_length=1)
    """Folder of the run. Its answers to the training rows are computed once. Rows without a label are learned from it alone. None: off."""
    weight: float = Field(default=0.5, gt=0, le=1)
    """Share of the teacher's answers in the loss; the rest is the labels'. 1 learns from the teacher alone."""
    temperature: float = Field(default=2.0, gt=0)
    """By which the scores of both are divided: above 1 also what the teacher holds unlikely tells something. A number has none."""
    hidden: float = Field(default=0.0, ge=0)
    """Weight of the distance of hidden states, means over a row's tokens, mapped to the teacher's width. 0: answers alone are compared."""
    layers: tuple[tuple[int, int], ...] = ()
    """Blocks whose states are compared, student's and teacher's from 1, such as [[2, 4], [4, 8]]. Empty: all of the student's, spread."""
    top: int = Field(default=16, ge=1)
    """Of tasks that write: tokens that the teacher holds likeliest, kept at each place; all others count as one. 8 bytes a token each."""


class BudgetSettings(Settings):
    """What may be spent."""

    minutes: float | None = Field(default=None, gt=0)
    """Wall-clock minutes for the whole run; the schedule reaches its end when they do."""
    memory: str | None = None
    """Most memory that the run may hold, such as 4GB (powers of ten): of the GPU where it learns on one, else of the process.
    Of several workers each may hold so much.

    As many tokens pass at once as fit into it, by trying; a run that would need more is refused before it begins.
    """
    ledger: str = Field(default="auto", min_length=1)
    """Local file that keeps what the run was forecast to take beside what it took, for `plan --ledger`; off keeps nothing.

    auto: $ROOTSTOCK_LEDGER, else plans.jsonl in the user's state folder. Nothing is sent anywhere.
    """

    @property
    def memory_bytes(self) -> int | None:
        """The memory in bytes."""
        return None if self.memory is None else in_bytes(self.memory)

    @field_validator("memory", mode="before")
    @classmethod
    def _an_amount(cls, value: Any) -> Any:
        text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
        if isinstance(text, str) and in_bytes(text) <= 0:
            raise ValueError("more than 0")
        return text


class ClusterSettings(Settings):
    """Several processes that learn together, on one machine or many."""

    engine: Literal["torch", "ray"] = "torch"
    """Who starts the workers: torch, on this machine; or Ray, on its cluster. Under torchrun and accelerate launch they are there."""
    workers: int = Field(default=1, ge=1)
    """Processes, each with a share of every update. The batch stays what training.batch_tokens says, whatever their number."""
    gpus_per_worker: int | None = Field(default=None, ge=0, le=1)
    """1: each worker has a GPU; 0: it learns on processors. None: 1 where there are GPUs."""
    strategy: Literal["ddp", "fsdp", "tensor"] = "ddp"
    """What a worker holds. ddp: the whole model; fsdp: its shard of parameters, gradients and moments, for models too large for one.
    tensor: its part of the large matrices, by the plan that the model brings; all workers see all rows."""
    recompute: bool = False
    """Keep only the inputs of each block for the backward pass and compute the rest again: a third more work, far less memory."""
    offload: bool = False
    """With fsdp: shards stay in the machine's memory and come to the GPU a block at a time. Slower; on processors it changes nothing."""


class Recipe(Settings):
    """One run: base × task × method × data, and how to carry it out."""

    base: str = Field(default="minilm", min_length=1)
    """minilm, a folder, a run, a hub id with an optional @revision, or scratch:<architecture>."""
    tokenizer: str | None = None
    """Folder of the tokenizer for a scratch base. None: minilm's. Every other base brings its own."""
    add_tokens: str | tuple[str, ...] = ()
    """Tokens that the base's tokenizer gets beside its own: a list, or a file with one a line. Each begins as the mean of its pieces."""
    task: dict[str, Any] = Field(default_factory=lambda: {"name": "auto"})
    """The task's name and its settings; `rootstock tasks` lists them. auto goes by the label column."""
    data: DataSettings = DataSettings()
    """The rows."""
    method: dict[str, Any] = Field(default_factory=lambda: {"name": "auto"})
    """The method's name and its settings; `rootstock methods` lists them. auto picks one and says why."""
    augment: dict[str, Any] | None = None
    """More training rows made of those that are there: the name of a way (eda) and its settings. Validation rows are never touched."""
    training: TrainingSettings = TrainingSettings()
    """The loop."""
    teacher: TeacherSettings = TeacherSettings()
    """A larger model to learn from."""
    budget: BudgetSettings = BudgetSettings()
    """Limits in time and memory."""
    cluster: ClusterSettings = ClusterSettings()
    """Processes and machines."""
    accept: tuple[str, ...] = ()
    """Findings of the data ledger that may exceed their limits: truncation, overlap, contradictions …"""
    merge: bool = False
    """Also write merged/: adapter and base as one plain model, after its answers were compared."""
    track: Literal["tensorboard", "wandb", "mlflow"] | None = None
    """Mirror metrics to tensorboard, wandb or mlflow; history.jsonl stays the truth."""
    seed: int = Field(default=42, ge=0, lt=2**32)
    """Seed of splits, order, fresh weights and dropout."""

    def anchored(self, folder: Path) -> "Recipe":
        """The same recipe with relative paths resolved against `folder`."""
        data = self.data.model_copy(update={key: _anchor(getattr(self.data, key), folder) for key in ("train", "validation", "exclude")})
        teacher = self.teacher.model_copy(update={"run": _anchor(self.teacher.run, folder)})
        augment = self.augment and {key: value if key == "name" else _anchor(value, folder) for key, value in self.augment.items()}
        method = {key: _anchor(value, folder) if key == "on" else value for key, value in self.method.items()}
        task = {**self.task, "parts": _anchored_parts(self.task["parts"], folder)} if "parts" in self.task else self.task
        kept = self.budget.ledger
        budget = (
            self.budget if kept in ("auto", "off") else self.budget.model_copy(update={"ledger": str(folder / Path(kept).expanduser())})
        )
        places = {"budget": budget, "base": _anchor(self.base, folder), "tokenizer": _anchor(self.tokenizer, folder)}
        if isinstance(self.add_tokens, str):  # a list of tokens names no files, whatever lies there
            places["add_tokens"] = _anchor(self.add_tokens, folder)
        return self.model_copy(update={"data": data, "task": task, "method": method, "teacher": teacher, "augment": augment, **places})


EMBEDDED = ("minilm", "stdlib-docs")
"""Names that mean what comes with Rootstock, whatever lies in a folder of that name; ./minilm means the folder."""


def _anchored_parts(parts: Any, folder: Path) -> Any:
    """The parts of a task with the paths of their rows resolved; whatever is no part is left for the task itself to refuse."""
    if not isinstance(parts, dict):
        return parts
    return {name: part | {"data": _anchored_rows(part["data"], folder)} if _has_rows(part) else part for name, part in parts.items()}


def _has_rows(part: Any) -> bool:
    return isinstance(part, dict) and isinstance(part.get("data"), dict)


def _anchored_rows(data: dict[str, Any], folder: Path) -> dict[str, Any]:
    return data | {key: _anchor(data[key], folder) for key in ("train", "validation", "exclude") if key in data}


def _anchor(reference: Any, folder: Path) -> Any:
    """An existing relative path becomes absolute; names, ids and numbers stay as they are."""
    if isinstance(reference, tuple | list):
        return tuple(_anchor(each, folder) for each in reference)
    if isinstance(reference, str) and reference.startswith("scratch:") and reference.endswith(".json"):
        return f"scratch:{_anchor(reference.removeprefix('scratch:'), folder)}"
    if isinstance(reference, str) and "+" in reference and not (folder / reference).exists():
        return "+".join(_anchor(each, folder) for each in reference.split("+"))  # parallel files
    if (
        isinstance(reference, str)
        and reference
        and reference not in EMBEDDED
        and not Path(reference).is_absolute()
        and (folder / reference).exists()
    ):
        return str((folder / reference).resolve())
    return reference
