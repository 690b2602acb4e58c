"""Every labelled task: figures by how often rows are held are those of rows that are there so often, and undefined where those are."""

import numpy as np
import pytest

from rootstock import catalog
from rootstock.core.rows import boxed
from rootstock.core.tally import Groups, Sums, Tally, mean, ratio
from rootstock.core.task import Labelled
from rootstock.evaluation.score import score

ROWS, WORDS = 40, ("a", "film", "was", "good", "bad", "not", "very", "long")
LABELS = ("O", "B-PER", "I-PER", "B-LOC")


def _texts(draw):
    return boxed([" ".join(draw.choice(WORDS, 6)) for _ in range(ROWS)])


def _tags(draw):
    answers_NW = draw.integers(0, len(LABELS), (ROWS, 5)).astype(np.int16)
    scores_NW = np.where(draw.random((ROWS, 5)) < 0.6, answers_NW, draw.integers(0, len(LABELS), (ROWS, 5))).astype(np.int16)
    answers_NW[::3, 3:] = scores_NW[::3, 3:] = -2
    return {"scores": scores_NW, "answers": answers_NW, "loss": draw.random(ROWS), "items": np.full(ROWS, 4)}


def _spans(draw):
    golds = [[] if place % 5 == 0 else ["good film"] for place in range(ROWS)]
    answers = boxed([("a good film was long", held) for held in golds])
    scores_N2 = np.where(draw.random((ROWS, 1)) < 0.4, [[2, 11]], np.where(draw.random((ROWS, 1)) < 0.5, [[-1, -1]], [[2, 6]]))
    return {"scores": scores_N2, "answers": answers, "loss": draw.random(ROWS), "items": np.ones(ROWS)}


COLUMNS = {
    ("text-classification", "one class"): lambda draw: {"scores": draw.dirichlet(np.ones(3), ROWS), "answers": draw.integers(0, 3, ROWS)},
    ("text-classification", "two classes"): lambda draw: {
        "scores": np.round(draw.dirichlet(np.ones(2), ROWS), 1),
        "answers": draw.integers(0, 2, ROWS),
    },
    ("text-classification", "several"): lambda draw: {"scores": draw.random((ROWS, 4)), "answers": draw.integers(0, 2, (ROWS, 4))},
    ("image-classification", ""): lambda draw: {"scores": draw.dirichlet(np.ones(5), ROWS), "answers": draw.integers(0, 4, ROWS)},
    ("multiple-choice", ""): lambda draw: {"scores": draw.dirichlet(np.ones(4), ROWS), "answers": draw.integers(0, 4, ROWS)},
    ("regression", ""): lambda draw: {"scores": draw.normal(0, 1, (ROWS, 1)), "answers": draw.integers(0, 4, ROWS).astype(float)},
    ("token-classification", "entities"): _tags,
    ("question-answering", ""): _spans,
    ("text-to-text", "translation"): lambda draw: {
        "scores": _texts(draw),
        "answers": _texts(draw),
        "loss": draw.random(ROWS),
        "count": np.full(ROWS, 3),
        "hits": np.ones(ROWS),
    },
    ("text-to-text", "summarisation"): lambda draw: {"scores": _texts(draw), "answers": _texts(draw)},
    ("text-generation", ""): lambda draw: {
        "loss": draw.random(ROWS),
        "count": draw.integers(1, 9, ROWS),
        "hits": draw.integers(0, 2, ROWS),
    },
    ("preference", ""): lambda draw: {"margin": draw.normal(0, 1, ROWS), "loss": draw.random(ROWS)},
    ("embedding", "scores"): lambda draw: {
        "scores": draw.normal(0, 1, (ROWS, 1)),
        "scores_8": draw.normal(0, 1, (ROWS, 1)),
        "answers": draw.integers(0, 6, ROWS).astype(np.float32),
    },
    ("embedding", "triplets"): lambda draw: {
        "rank": draw.integers(1, 20, ROWS),
        "rank_8": draw.integers(1, 20, ROWS),
        "closer": draw.integers(0, 2, ROWS).astype(float),
    },
}
SETTINGS = {
    "several": {"labels": ("a", "b", "c", "d"), "several": "yes"},
    "one class": {"labels": ("a", "b", "c"), "several": "no"},
    "two classes": {"labels": ("a", "b"), "several": "no"},
    "entities": {"labels": LABELS},
    "translation": {"figures": "translation"},
    "summarisation": {"figures": "summarisation"},
    "scores": {"form": "scores", "dimensions": (8,)},
    "triplets": {"form": "triplets", "dimensions": (8,)},
}


@pytest.fixture(params=COLUMNS, ids=lambda each: "-".join(filter(None, each)))
def judged(request):
    name, form = request.param
    task = catalog.find("tasks", name)(**SETTINGS.get(form, {}))
    return task, task.judged(COLUMNS[request.param](np.random.default_rng(7)))


def test_no_task_is_left_out():
    labelled = {name for name in catalog.names("tasks") if issubclass(catalog.find("tasks", name), Labelled)}
    assert {name for name, _ in COLUMNS} == labelled


def test_counted_is_as_if_the_rows_were_there(judged):
    task, columns = judged
    names = list(task.metrics(columns))
    counts_RN = np.random.default_rng(1).multinomial(ROWS, np.full(ROWS, 1 / ROWS), 6).astype(float)
    counts_RN[4, 3:], counts_RN[5] = 0, 0
    found_RF = task.tally(columns, names).of(counts_RN)
    for counts_N, found_F in zip(counts_RN, found_RF, strict=True):
        chosen = np.repeat(np.arange(ROWS), counts_N.astype(int))
        wanted = task.metrics({name: values[chosen] for name, values in columns.items()})
        # where no row lacks an answer, what is of answerable rows alone is of all of them, and is not told twice
        twice = {f"answerable_{name}": wanted[name] for name in ("f1", "exact_match") if f"answerable_{name}" in names and name in wanted}
        wanted = twice | wanted
        assert {name for name, value in zip(names, found_F, strict=True) if np.isfinite(value)} == set(wanted) & set(names)
        assert [value for value in found_F if np.isfinite(value)] == pytest.approx(
            [wanted[name] for name in names if name in wanted], abs=1e-9
        )


def test_names_that_nobody_knows_are_not_counted(judged):
    task, columns = judged
    assert task.tally(columns, ("no such figure",)) is None


@pytest.mark.parametrize("case", COLUMNS, ids=lambda each: "-".join(filter(None, each)))
def test_every_figure_of_every_task_has_an_interval(case):
    task = catalog.find("tasks", case[0])(**SETTINGS.get(case[1], {}))
    found = score(COLUMNS[case](np.random.default_rng(7)), task, seed=0)
    assert found["metrics"]
    assert set(found["intervals"]) == set(found["metrics"])
    for name, (low, high) in found["intervals"].items():
        assert low <= found["metrics"][name] <= high, name
        assert low < high, name


def test_quotients_of_nothing_are_not_defined():
    assert np.isnan(ratio(np.array([1.0, 0.0]), np.array([0.0, 0.0]))).all()
    assert mean(np.array([[0.0, 0.0], [1.0, 3.0]]), np.array([1.0, 2.0]))[1] == 1.75


def test_groups_leave_out_what_is_in_none():
    groups = Groups.of(np.array([2, -1, 0, 2]), 4)
    assert groups.sums(np.array([[1.0, 10.0, 100.0, 1000.0]])).tolist() == [[100.0, 0.0, 1001.0, 0.0]]
    assert Groups.of(np.array([-1, -1]), 2).sums(np.ones((3, 2))).tolist() == [[0.0, 0.0]] * 3


def test_sums_of_a_set_are_products_of_its_counts():
    sums = Sums({"a": np.array([1.0, 2.0]), "b": np.array([[1, 2], [3, 4]])}, np.array([[2.0, 0.0], [1.0, 1.0]]))
    assert sums("a").tolist() == [2.0, 3.0]
    assert sums("b").tolist() == [[2.0, 4.0], [4.0, 6.0]]
    assert sums.mean("a").tolist() == [1.0, 1.5]


def test_without_rows_there_is_no_figure():
    assert Tally(("a",), 0, lambda counts_RN: np.ones((1, 1))).whole() == {}


class Counting(np.ndarray):
    """An array that counts the numbers which ufuncs make of it, or read to add them up."""

    made = 0

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **more):
        plain = [each.view(np.ndarray) if isinstance(each, Counting) else each for each in inputs]
        kept = tuple(each.view(np.ndarray) if isinstance(each, Counting) else each for each in out) if out else None
        found = getattr(ufunc, method)(*plain, **({"out": kept} if kept else {}), **more)
        read = plain[0].size if method in ("reduce", "reduceat", "accumulate") else 0
        product = plain[0].size * (plain[1].shape[-1] if plain[1].ndim > 1 else 1) if ufunc is np.matmul else 0
        Counting.made += max(read, product, np.size(found))
        return found.view(Counting) if isinstance(found, np.ndarray) else found


def operations(task, columns, names, rows):
    """Numbers made or read for the named figures of one resample, a row."""
    Counting.made, sets = 0, 20
    counts_RN = np.random.default_rng(0).multinomial(rows, np.full(rows, 1 / rows), sets).astype(float)
    tally = task.tally(columns, names)
    tally.of(counts_RN)
    Counting.made = 0
    tally.of(counts_RN.view(Counting))
    return Counting.made / sets / rows


@pytest.mark.parametrize("classes", [2, 20])
def test_all_figures_cost_a_bounded_number_of_operations_a_row(classes):
    rows, draw = 2000, np.random.default_rng(0)
    columns = {"scores": draw.dirichlet(np.ones(classes), rows), "answers": draw.integers(0, classes, rows)}
    task = catalog.find("tasks", "text-classification")(labels=tuple(map(str, range(classes))), several="no")
    spent = operations(task, columns, list(task.metrics(columns)), rows)
    without = operations(task, columns, [name for name in task.metrics(columns) if name != "roc_auc"], rows)
    assert without < 24
    assert spent - without < 8 * (classes if classes > 2 else 1)
