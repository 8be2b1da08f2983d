# distq's chores by name; `make` alone lists them. Each makes the environment that it needs in .venv,
# once: a second run costs nothing.

PYTHON ?= python3
BIN := .venv/bin
RUNTIME := .venv/.runtime
DEV := .venv/.dev
# Tests run in parallel; those of one `xdist_group` stay in one process.
PYTEST := $(BIN)/pytest -n auto --dist loadgroup
SCRIPTS = .ci/run $(shell find deploy examples findings helm images tests tools -name '*.sh' -o -name '*.bash' 2>/dev/null)
DOCKERFILES = $(shell find images examples -name '*Dockerfile*' 2>/dev/null)
COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --custom-compile-command 'make lock' $(UPGRADE) pyproject.toml

# Pythons of other versions, and the environments on them.
UNPACKED = .venv/pythons

.PHONY: help demo test test-on free-threaded pythons sim chaos mixed soak bench lint lint-compose lint-workflows helm4 grafana keda pictures format lock build interpreters clean
.DELETE_ON_ERROR:

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(RUNTIME) ## the recipe's job on a master and two workers, here and now
	@$(BIN)/distq demo

test: $(DEV) ## every test that this machine can run; the skipped ones say why
	@$(PYTEST) $(ARGS)

test-on: $(DEV) ## the tests on another Python: MINOR=15 (of Debian unstable) or PYTHON=..., ARGS="tests/wire -k ..."
	@python=$$(if [ -n "$(MINOR)" ]; then tools/python.sh $(MINOR) $(UNPACKED)/3.$(MINOR); else command -v $(PYTHON); fi) && \
		on=$(UNPACKED)/on-$$("$$python" -c 'import sysconfig; print(sysconfig.get_config_var("SOABI"))') && \
		PATH="$(CURDIR)/$(BIN):$$PATH" "$$python" tools/environment.py dev "$$on" && \
		"$$on/bin/python" -m pytest -n auto --dist loadgroup $(ARGS)

free-threaded: $(DEV) ## the tests of thread executors without a GIL: PYTHON=/path/to/python3.13t
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(PYTHON) tools/environment.py runtime $(UNPACKED)/free-threaded
	@$(BIN)/pytest --free-threaded $(CURDIR)/$(UNPACKED)/free-threaded/bin/python tests/e2e/test_free_threaded.py $(ARGS)

pythons: $(DEV) ## unpack the Pythons that this machine lacks, for `make interpreters`: MINORS="13 14 15"
	@for minor in $(or $(MINORS),13 14 15); do tools/python.sh $$minor $(UNPACKED)/3.$$minor || exit 1; done

interpreters: $(DEV) ## the standard-library tests on every Python found, 3.8 and newer
	@$(PYTEST) --interpreters $(ARGS)

sim: $(DEV) ## the whole master in virtual time, everything breaking: SEED=7 STEPS=100000
	@$(BIN)/python -m tests.sim.simulation $(or $(SEED),$$(date +%s)) $(or $(STEPS),100000)

chaos: $(DEV) ## real processes and a file, everything killed, frozen and cut: SEED=7 TASKS=100000
	@$(BIN)/python -m tests.chaos.run $(or $(SEED),$$(date +%s)) $(or $(TASKS),100000)

mixed: $(DEV) ## every kind of task at once under the same, its limits kept at every instant: SEED=7 SECONDS=600
	@$(BIN)/python -m tests.chaos.mixed $(or $(SEED),$$(date +%s)) $(or $(SECONDS),600)

soak: $(DEV) ## mixed load for minutes, every future settled, memory, descriptors and threads flat: SEED=7 MINUTES=20
	@$(BIN)/python -m tests.soak.run $(or $(SEED),$$(date +%s)) $(or $(MINUTES),20)

bench: $(DEV) ## distq and the bare recipe, measured side by side in one run
	@$(BIN)/python -m benchmarks.plain
	@$(BIN)/python -m benchmarks.tasks_per_second
	@$(BIN)/python -m benchmarks.durable
	@$(BIN)/python -m benchmarks.many_tasks
	@$(BIN)/python -m benchmarks.whole_life
	@$(BIN)/python -m benchmarks.scrape

lint: $(DEV) ## style, types, import floors, Dockerfiles, YAML and shell
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/yamllint --strict .
	@$(BIN)/shellcheck $(SCRIPTS)
	@for file in $(DOCKERFILES); do echo "hadolint $$file"; $(BIN)/hadolint --config .hadolint.yaml "$$file" || exit 1; done

lint-compose: ## dclint on the Compose files; needs npx
	@npx --yes dclint@3.1.0 --max-warnings 0 compose.yaml $(wildcard examples/own-tasks/*.yaml)

helm4: $(DEV) ## Helm 4 beside Helm 3, for the tests with both; needs Go, and minutes the first time
	@test -x $(BIN)/helm4 || { GOBIN="$(CURDIR)/$(BIN)/go" go install helm.sh/helm/v4/cmd/helm@v4.3.1 && \
		mv $(BIN)/go/helm $(BIN)/helm4 && rmdir $(BIN)/go; }

grafana: $(DEV) ## Grafana's own libraries of 11, 12 and 13, for the tests of the dashboards; needs npm
	@mkdir -p .venv/grafana
	@cmp -s tests/kit/grafana/package-lock.json .venv/grafana/node_modules/.lock || { \
		cp tests/kit/grafana/package.json tests/kit/grafana/package-lock.json .venv/grafana/ && \
		npm ci --prefix .venv/grafana --legacy-peer-deps --ignore-scripts --no-audit --no-fund && \
		cp tests/kit/grafana/package-lock.json .venv/grafana/node_modules/.lock; }

keda: ## a real KEDA as images, for the cluster's tests; needs Go and an engine, and half an hour the first time
	@bash tools/keda.sh $(or $(KEDA_HOME),.venv/keda)

lint-workflows: $(DEV) ## zizmor and actionlint on the release workflow; needs Go
	@$(BIN)/zizmor --offline --quiet .github/workflows
	@PATH="$(CURDIR)/$(BIN):$$PATH" go run github.com/rhysd/actionlint/cmd/actionlint@v1.7.7 .github/workflows/*.yml

pictures: $(DEV) ## draw the dashboards from a real Prometheus and a terminal, for README: MINUTES=15
	@$(BIN)/uv run --quiet --no-project --python $(BIN)/python --with matplotlib==3.11.2 --with rich \
		python -m tools.pictures $(or $(PROMETHEUS),http://127.0.0.1:9090) $(or $(MINUTES),15)

format: $(DEV) ## rewrite the Python files in the project's style
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

lock: $(DEV) ## pin the dependencies anew; UPGRADE=--upgrade takes the newest of all
	@$(COMPILE) --output-file requirements.lock
	@$(COMPILE) --group dev --constraint requirements.lock --output-file requirements-dev.lock

build: $(DEV) ## the wheel and the source archive, in dist/
	@$(BIN)/uv build --quiet --no-build-isolation --python $(BIN)/python
	@ls dist

clean: ## remove what the other targets made
	rm -rf .venv dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests tools -name __pycache__ -type d -prune -exec rm -rf {} +

$(RUNTIME): requirements.lock pyproject.toml tools/environment.py
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) was not found: install Python 3.11 or newer." >&2; exit 1; }
	@$(PYTHON) tools/environment.py runtime
	@touch $@

$(DEV): requirements-dev.lock requirements.lock pyproject.toml tools/environment.py
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) was not found: install Python 3.11 or newer." >&2; exit 1; }
	@$(PYTHON) tools/environment.py dev
	@touch $(RUNTIME) $@
