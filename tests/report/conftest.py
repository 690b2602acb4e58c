import pytest

from rootstock.report import charts

LIBRARY = charts.library

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)> & \"quoted\" 'label' {{ 7*7 }} ünïcode | pipe\n- [x](http://evil.example)"
"""What a cell of somebody's CSV can hold."""


def make(labels=("no", "yes"), kind="class"):
    """All that a run tells its report, small and made up."""
    count = len(labels)
    steps = [
        {"event": "step", "step": i + 1, "loss": 1 / (i + 1), "rate": 1e-4, "seconds": 0.1, "rows": 8, "tokens": 64} for i in range(20)
    ]
    evaluation = {"event": "evaluation", "step": 20, "accuracy": 0.75, "macro_f1": 0.7, "log_loss": 0.5, "best_step": 20}
    return {
        "name": "reviews",
        "kind": kind,
        "manifest": {
            "task": "text-classification",
            "method": "lora",
            "base": {
                "name": "minilm",
                "sha256": "a" * 64,
                "licence": "Apache-2.0",
                "hub_id": "org/minilm",
                "revision": None,
                "parameters": 22_000_000,
            },
            "data": {"train": {"name": "/home/someone/secret/reviews.csv", "format": "csv", "sha256": "b" * 64}},
            "labels": list(labels),
            "hardware": {"processor": "X", "cores": 2, "memory_bytes": 8e9, "gpu": None},
            "versions": {"python": "3.12.1", "torch": "2.9"},
        },
        "metrics": {
            "rows": 40,
            "metrics": {"accuracy": 0.75, "macro_f1": 0.7, "log_loss": 0.5, "calibration_error": 0.1},
            "intervals": {"accuracy": [0.6, 0.88], "macro_f1": [0.55, 0.84]},
            "baselines": {"tfidf": {"accuracy": 0.7, "macro_f1": 0.69}, "majority": {"accuracy": 0.5, "macro_f1": 0.33}},
            "left_out": {},
            "beats": {"tfidf": True, "majority": True},
            "differences": {"tfidf": {"figure": "accuracy", "difference": [0.01, 0.1], "separable": True}},
            "leakage": {"overlap_rows": 4, "with": {"accuracy": 0.75}, "without": {"accuracy": 0.72}, "overlap_only": {"accuracy": 1.0}},
            "verdict": "accuracy 0.750 [0.600, 0.880] beats TF-IDF + logistic regression (0.700)",
            "best_step": 20,
        },
        "ledger": {
            "rows": {"read": 400, "dropped": 0, "train": 360, "validation": 40},
            "labels": {label: 360 - i for i, label in enumerate(labels)},
            "validation_labels": {label: 40 for label in labels},
            "lengths": {"kept": 32, "bins": [0, 20, 41], "counts": [300, 100], "percentiles": {"50": 12.0}, "longest": 40, "mean": 14.2},
            "padding_share": 0.05,
            "findings": {
                "truncation": {
                    "count": 9,
                    "share": 0.0225,
                    "limit": 0.01,
                    "examples": [{"row": 3, "in": "train", "text": labels[0], "tokens": 40}],
                },
                "empty": {"count": 0, "share": 0.0, "limit": 0.01, "examples": []},
            },
            "truncation": [{"length": 16, "rows": 120, "share": 0.3, "tokens_lost": 600, "tokens_share": 0.1}],
        },
        "history": [*steps, evaluation],
        "plan": {
            "predicted": {"seconds": 10.0, "peak_bytes": 1e9, "steps": 20},
            "measured": {"seconds": 12.0, "peak_bytes": 1.2e9, "steps": 20},
        },
        "details": {
            "per_class": [{"label": label, "precision": 0.8, "recall": 0.7, "f1": 0.75, "support": 20} for label in labels],
            "confusion": [[15 if i == j else int(j == (i + 1) % count) for j in range(count)] for i in range(count)],
            "calibration": [{"confidence": 0.6, "accuracy": 0.5, "count": 10}, {"confidence": 0.9, "accuracy": 0.85, "count": 30}],
        },
        "mistakes": [{"row": 7, "texts": [labels[0]], "answer": labels[0], "predicted": labels[-1], "confidence": 0.93}],
        "recipe": {
            "base": "minilm",
            "task": {"name": "text-classification", "labels": list(labels)},
            "data": {"train": "/home/someone/secret/reviews.csv"},
            "seed": 42,
        },
        "choices": {"method": "enough rows", "schema": ["text: column 'review'"]},
        "contract": {"labels": list(labels), "length": 32, "saves": "adapter", "tokenizer_sha256": "c" * 64, "method": {"name": "lora"}},
    }


@pytest.fixture(autouse=True, scope="module")
def whole_pages(short_pages):
    """Pages hold the library that draws in them, as a user's do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(charts, "library", LIBRARY)
        yield


@pytest.fixture
def facts():
    """Makes facts: facts(labels, kind)."""
    return make


@pytest.fixture
def number_facts():
    """The same for a regression."""
    made = make()
    made["kind"] = "number"
    made["metrics"] |= {
        "metrics": {"spearman": 0.5, "mean_absolute_error": 1.1},
        "intervals": {"spearman": [0.4, 0.6]},
        "baselines": {"tfidf": {"spearman": 0.7}, "majority": {"mean_absolute_error": 1.3}},
        "beats": {"tfidf": False, "majority": True},
        "differences": {"tfidf": {"figure": "spearman", "difference": [-0.3, -0.1], "separable": True}},
    }
    made["ledger"] |= {"labels": {"count": 360, "mean": 2.5}, "validation_labels": {"count": 40, "mean": 2.4}}
    made["details"] = {"scatter": [[1.0, 1.5], [2.0, 1.7]], "residuals": {"edges": [-1.0, 0.0, 1.0], "counts": [3, 4]}}
    made["contract"] |= {"labels": [], "saves": "model"}
    return made


@pytest.fixture
def hostile():
    """Facts whose labels, texts and name are made to break a page."""
    return make((HOSTILE, "yes")) | {"name": HOSTILE}


@pytest.fixture(params=["class", "classes", "number", "hostile", "empty"])
def every(request, number_facts, hostile):
    """Facts of each shape in turn."""
    shapes = {"number": number_facts, "hostile": hostile, "empty": {}}
    several = make(kind="classes")
    del several["details"]["confusion"]
    return shapes.get(request.param) if request.param in shapes else several if request.param == "classes" else make()
