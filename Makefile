# `make` lists the targets. Each does the set-up that it needs.
SHELL := /bin/sh
PY := .venv/bin/python
DATA ?= .cache/data

.PHONY: help setup demo serve test check torture bench docs lock wheel clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install everything that developing takes, and make airfoil2d.zip
	@scripts/setup dev

demo: ## run the tutorial's job for real, from upload to lift and drag (KEEP=1 leaves the server up; STUDY=1: a sweep; STACK=slurm: over a scheduler)
	@scripts/setup demo $(STACK)
	@$(PY) scripts/$(if $(STACK),demo_$(STACK),$(if $(filter-out 0,$(STUDY)),demo_study,demo)).py

serve: ## serve the API on port 8420 with the data folder DATA
	@scripts/setup demo
	@$(PY) -m simyard serve --data $(DATA)

# Each of its processes would compile all tests anew where Python may not keep what it compiled.
test: export PYTHONDONTWRITEBYTECODE =
test: setup ## run all tests, with real solvers
	@scripts/console test
	@$(PY) -m pytest -n 4 --dist worksteal

check: setup ## lint, types, import contract, generated files fresh
	@$(PY) -m ruff format --check .
	@$(PY) -m ruff check .
	@$(PY) -m mypy
	@.venv/bin/lint-imports --cache-dir .cache/import-linter
	@$(PY) scripts/generate.py --check
	@scripts/console check

torture: setup ## a thousand random kills and every other fault, checked (KILLS=, SEED=); writes docs/reliability.json
	@$(PY) -m simyard torture --kills $(or $(KILLS),1000) $(if $(SEED),--seed $(SEED)) \
		--json .cache/reliability.json; status=$$?; \
		$(PY) benchmarks/verdicts.py docs/verdicts.json; \
		cp .cache/reliability.json docs/reliability.json && $(PY) scripts/reliability.py && exit $$status

bench: setup ## measure the promised figures beside peers and limits
	@$(PY) -m pip install -q --disable-pip-version-check --require-hashes \
		--upgrade --target .cache/peer -r requirements/peer.txt
	@$(PY) benchmarks/run.py

docs: setup ## bring generated documentation up to date
	@$(PY) scripts/generate.py

wheel: setup ## build the wheel into dist/
	@rm -rf dist
	@$(PY) -m hatchling build -t wheel

lock: ## bring requirements/*.txt up to date (needs uv)
	@scripts/lock

clean: ## remove everything that the other targets made
	rm -rf .venv .cache console/node_modules src/simyard/console/dist .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist demo-results airfoil2d.zip airfoil2d-fem.zip examples/airfoil-study/airfoil-study.zip
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
