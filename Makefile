# Every target sets up .venv first where that is needed; nothing else has to be installed but Python 3.10+.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help quickstart test lint methods labels joint joint-weights forgetting sentences cross-lingual compare-models \
	losses input evaluation-speed sentence-step clean

help:
	@echo "make quickstart   train a small CLIP from scratch, judge it, write a report (about five minutes on two cores)"
	@echo "make test         run the tests"
	@echo "make lint         ruff and mypy"
	@echo "make methods      train every vision method five times on digits and glyphs: docs/methods.md (under an hour on two cores)"
	@echo "make labels       accuracy against the share of labels: docs/labels.md (about a quarter of an hour)"
	@echo "make joint        image-text with and without SimCLR and SimCSE: docs/joint.md (about half an hour)"
	@echo "make joint-weights   what the weights of that are chosen by (about a quarter of an hour)"
	@echo "make forgetting EMOJI=... CLOTHING=...   what eight ways to fine-tune gain and forget: docs/forgetting.md (about three quarters of an hour)"
	@echo "make losses       the losses beside open_clip, sentence-transformers and lightly (about a quarter of an hour)"
	@echo "make input        JPEG files to batches, beside open_clip's transform, interleaved (about four minutes)"
	@echo "make evaluation-speed   ranks and zero-shot classifiers beside open_clip and FAISS (about half an hour; needs faiss-cpu)"
	@echo "make sentences TEXT=...   sentence encoders from scratch, judged by STS-B in two languages: docs/sts.md (under 40 minutes on two cores)"
	@echo "make cross-lingual EMOJI=...   drawings with names in two languages: docs/cross-lingual.md (about five minutes)"
	@echo "make compare-models EMOJI=... CLOTHING=...   the quickstart's model beside two baselines: docs/compare-models.md and its report (about six minutes)"
	@echo "make sentence-step [SENTENCES=...]   a step of SimCSE beside sentence-transformers' trainer"
	@echo "make clean        remove the virtual environment"

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "mmcl needs Python 3.10 or newer, this is %d.%d; try make PYTHON=python3.12" % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	@touch $@

quickstart: $(READY)
	$(BIN)/mmcl train quickstart

test: $(READY)
	$(BIN)/python -m pytest --numprocesses 2 --dist loadgroup

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

methods labels joint: $(READY)
	$(BIN)/python -m benchmarks.$@

joint-weights: $(READY)
	$(BIN)/python -m benchmarks.joint --tune

forgetting: $(READY)
	$(BIN)/python -m benchmarks.forgetting --emoji $(EMOJI) --clothing $(CLOTHING)

sentences: $(READY)
	$(BIN)/python -m benchmarks.sts --text $(TEXT)

cross-lingual: $(READY)
	$(BIN)/python -m benchmarks.cross_lingual --emoji $(EMOJI)

compare-models: $(READY)
	$(BIN)/python -m benchmarks.compare_models --emoji $(EMOJI) --clothing $(CLOTHING)

losses input: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.$@

evaluation-speed: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.evaluation

sentence-step: $(READY)
	$(BIN)/python -m benchmarks.sentences $(if $(SENTENCES),--sentences $(SENTENCES))

clean:
	rm -rf $(VENV)
