# Two commands do all set-up: `make demo` shows a job survive two deaths, `make test` proves the rest.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TRAIN := $(VENV)/.trainable
HF4 := $(VENV)/transformers4
MATRIX := $(VENV)/.matrixed
WITNESS := $(VENV)/witness
CLOUDS := $(addprefix tests/integration/test_,aws.py clouds.py ssh.py vast.py wheels.py)

.PHONY: help demo demo-clouds test lint types imports unit integration test-clouds test-train test-hooks test-ghost test-cuda test-chaos test-matrix test-witness bench docs clean

help:
	@sed -n 's/^## //p' $(MAKEFILE_LIST)

$(STAMP): requirements/base.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; set PYTHON=/path/to/python3.11"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
		{ echo "python3-venv is missing: apt-get install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet --require-hashes -r requirements/base.txt
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

# torch comes in one build for each platform and processor, so no single hash can name it.
$(TRAIN): $(STAMP) requirements/train.txt requirements/torch.txt
	$(BIN)/python -m pip install --quiet -r requirements/torch.txt
	$(BIN)/python -m pip install --quiet --require-hashes --no-deps -r requirements/train.txt
	@touch $@

# The older line of transformers lies beside the newer one, for the tests of the resume hook alone.
$(HF4): $(TRAIN) requirements/transformers4.txt
	$(BIN)/python -m pip install --quiet --require-hashes --no-deps --upgrade --target $@ \
		-r requirements/transformers4.txt
	@touch $@

# Frameworks of the matrix and of a few training tests; --no-deps keeps torch and all that is there as it is.
$(MATRIX): $(TRAIN) requirements/matrix.txt
	$(BIN)/python -m pip install --quiet --require-hashes --no-deps -r requirements/matrix.txt
	@touch $@

# Vendors' own clients stand apart, so that nothing of theirs disturbs ours.
$(WITNESS): $(STAMP) requirements/witness.txt
	@rm -rf $@
	$(PYTHON) -m venv $@
	$@/bin/python -m pip install --quiet --require-hashes -r requirements/witness.txt
	@touch $@

## make demo         an ordinary training script survives two deaths of its machine
demo: $(TRAIN)
	@$(BIN)/vaultlayer demo

## make demo-clouds  one job is thrown out by two simulated clouds, ends on a third; weights and bill are shown
demo-clouds: $(TRAIN)
	@$(BIN)/vaultlayer demo --clouds

## make test         lint, types, import contracts, unit, integration with real servers
test: lint types imports unit integration

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(TRAIN)
	$(BIN)/pyright

imports: $(STAMP)
	$(BIN)/lint-imports

unit: $(STAMP)
	$(BIN)/python -m pytest -q tests/test_tidy.py tests/unit tests/model tests/ghost -m "not train"

integration: $(TRAIN)
	$(BIN)/python -m pytest -q tests/integration -m "not train" $(addprefix --ignore=,$(CLOUDS))

## make test-clouds  jobs on all simulated clouds, through the whole product; their machines are taken
test-clouds: $(TRAIN)
	$(BIN)/python -m pytest -q $(CLOUDS)

## make test-train   test-hooks and test-ghost, side by side: each keeps one processor busy
test-train: $(MATRIX) $(HF4)
	@$(MAKE) --no-print-directory --jobs=2 test-hooks test-ghost

## make test-hooks   the hooks inside real training: transformers 5.x and 4.5x, plain torch, two ranks
test-hooks: $(MATRIX) $(HF4)
	VAULTLAYER_TEST_TRANSFORMERS_4=$(abspath $(HF4)) $(BIN)/python -m pytest -q tests/integration -m train

## make test-ghost   exact replay alone; INTERPRETER=/path/to/python (with a torch and NumPy of its own) runs the scripts
test-ghost: $(TRAIN)
	VAULTLAYER_TEST_INTERPRETER=$(INTERPRETER) $(BIN)/python -m pytest -q tests/ghost -m train

## make test-cuda    ghost replay on a CUDA device, with the torch that the interpreter has; skipped without one
test-cuda: $(TRAIN)
	$(BIN)/python -m pytest -q tests/ghost/test_cuda.py

## make test-chaos   kill -9 of every kind of process at random moments; slow
test-chaos: $(TRAIN)
	$(BIN)/python -m pytest -q tests/chaos

## make test-matrix  training scripts as people write them, killed twice each; MATRIX=all for every one
test-matrix: $(MATRIX)
	$(BIN)/python -m pytest -q tests/matrix

## make test-witness  clouds' own clients against our simulators
test-witness: $(WITNESS)
	VAULTLAYER_TEST_WITNESS=$(abspath $(WITNESS))/bin/python $(BIN)/python -m pytest -q -m witness tests/witness

## make bench        the short benchmarks, each a table with its machine and ratios
bench: $(TRAIN)
	$(BIN)/python -m benchmarks

## make docs         write the generated parts of docs/ anew
docs: $(STAMP)
	$(BIN)/python docs/generate.py
	$(BIN)/python docs/cli_pages.py
	$(BIN)/python docs/resume_matrix.py

clean:
	rm -rf $(VENV) .demo build dist *.egg-info
