# Every target makes its own .venv when it is missing, or when the dependencies changed.
PYTHON ?= python3
OUT ?= runs/demo
BIN := .venv/bin
INSTALLED := .venv/.installed
# One torch thread per process: two threads on two busy cores can be many times slower than one.
export OMP_NUM_THREADS := 1

CLIENTS := .venv-clients

.PHONY: demo test slow clients lint format bench dist clean

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet -c constraints.txt -e '.[all,dev]'
	touch $@

# Continues an interrupted demo; `make demo OUT=folder` writes elsewhere.
demo: $(INSTALLED)
	$(BIN)/plastic-envs compare --preset quick --resume --out $(OUT)
	@echo "The report:"
	@$(BIN)/plastic-envs report $(abspath $(OUT))

test: $(INSTALLED)
	$(BIN)/pytest -n 2 --dist worksteal --cov --cov-report term

slow: $(INSTALLED)
	$(BIN)/pytest -m slow

# Other libraries live in every registered environment; their own requirements keep them out of .venv.
clients: $(CLIENTS)/.installed
	$(CLIENTS)/bin/python -m tests.clients

$(CLIENTS)/.installed: pyproject.toml tests/clients/requirements.txt
	$(PYTHON) -m venv $(CLIENTS)
	$(CLIENTS)/bin/pip install --quiet -r tests/clients/requirements.txt -e .
	touch $@

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(INSTALLED)
	$(BIN)/python -m benchmarks.environments
	$(BIN)/python -m benchmarks.evolution
	$(BIN)/python -m benchmarks.meta_training
	$(BIN)/python -m benchmarks.firing_rules
	$(BIN)/python -m benchmarks.feedback_rules --terms 1+3+10
	$(BIN)/python -m benchmarks.pattern_completion
	$(BIN)/python -m benchmarks.maze
	$(BIN)/python -m benchmarks.worlds
	$(BIN)/python -m benchmarks.generations

# Wheel and source distribution, and a try of the wheel alone in an environment of its own.
dist: $(INSTALLED)
	rm -rf dist
	$(BIN)/python -m build --outdir dist
	$(PYTHON) -m venv dist/venv
	dist/venv/bin/pip install --quiet -c constraints.txt "$$(ls $(CURDIR)/dist/*.whl)[all]"
	cd dist && venv/bin/plastic-envs train CueReward --hidden 8 --budget 2048 --out try
	cd dist && venv/bin/plastic-envs report try

clean:
	rm -rf dist .venv .venv-clients .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache
