# The tasks of developers; `make` lists them. Each creates the environment that it needs in .venv once; a second run
# reuses it.

PYTHON ?= python3
BIN := .venv/bin
RUNTIME := .venv/.runtime
DEV := .venv/.dev
# Tests run in parallel; tests of one `xdist_group` run in one process.
PYTEST := $(BIN)/pytest -n auto --dist loadgroup
SCRIPTS = .ci/run $(shell find deploy examples findings helm images tests tools -name '*.sh' -o -name '*.bash' 2>/dev/null)
DOCKERFILES = $(shell find images examples -name '*Dockerfile*' 2>/dev/null)
COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --custom-compile-command 'make lock' $(UPGRADE) pyproject.toml

# Other Python versions, and environments with them.
UNPACKED = .venv/pythons

.PHONY: help demo test test-on free-threaded pythons sim chaos chaos-replicated mixed soak fuzz fuzz-http bench bench-peers bench-replicated budget instructions lint lint-compose lint-workflows helm4 grafana nginx keda pictures docs outputs format lock audit sbom build interpreters clean
.DELETE_ON_ERROR:

help: ## list all targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(RUNTIME) ## run a master, two workers and ten tasks on this machine
	@$(BIN)/distq demo

test: $(DEV) ## run every test that this machine can run; skipped tests say why
	@$(PYTEST) $(ARGS)

test-on: $(DEV) ## run tests on another Python: MINOR=15 (of Debian unstable) or PYTHON=..., ARGS="tests/wire -k ..."
	@python=$$(if [ -n "$(MINOR)" ]; then tools/python.sh $(MINOR) $(UNPACKED)/3.$(MINOR); else command -v $(PYTHON); fi) && \
		on=$(UNPACKED)/on-$$("$$python" -c 'import sysconfig; print(sysconfig.get_config_var("SOABI"))') && \
		PATH="$(CURDIR)/$(BIN):$$PATH" "$$python" tools/environment.py dev "$$on" && \
		"$$on/bin/python" -m pytest -n auto --dist loadgroup $(ARGS)

free-threaded: $(DEV) ## run the tests of thread executors without a GIL: PYTHON=/path/to/python3.13t
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(PYTHON) tools/environment.py runtime $(UNPACKED)/free-threaded
	@$(BIN)/pytest --free-threaded $(CURDIR)/$(UNPACKED)/free-threaded/bin/python tests/e2e/test_free_threaded.py $(ARGS)

pythons: $(DEV) ## unpack other Python versions for `make interpreters`: MINORS="13 14 15"
	@for minor in $(or $(MINORS),13 14 15); do tools/python.sh $$minor $(UNPACKED)/3.$$minor || exit 1; done

interpreters: $(DEV) ## run the standard-library tests on every installed Python, 3.8 and newer
	@$(PYTEST) --interpreters $(ARGS)

sim: $(DEV) ## simulate the master in virtual time with faults of every kind: SEED=7 STEPS=100000
	@$(BIN)/python -m tests.sim.simulation $(or $(SEED),$$(date +%s)) $(or $(STEPS),100000)

chaos: $(DEV) ## kill, freeze and disconnect real processes under load: SEED=7 TASKS=100000
	@$(BIN)/python -m tests.chaos.run $(or $(SEED),$$(date +%s)) $(or $(TASKS),100000)

chaos-replicated: $(DEV) ## the same with three masters on a PostgreSQL server, which crashes too: SEED=7 TASKS=20000
	@$(BIN)/python -m tests.chaos.replicated $(or $(SEED),$$(date +%s)) $(or $(TASKS),20000)

mixed: $(DEV) ## the same with every kind of task; checks that no limit is exceeded: SEED=7 SECONDS=600
	@$(BIN)/python -m tests.chaos.mixed $(or $(SEED),$$(date +%s)) $(or $(SECONDS),600)

soak: $(DEV) ## run a mixed load for minutes; checks that memory, descriptors and threads do not grow: SEED=7 MINUTES=20
	@$(BIN)/python -m tests.soak.run $(or $(SEED),$$(date +%s)) $(or $(MINUTES),20)

fuzz: $(DEV) ## change the bytes that peers send and the store has, until one is neither read nor refused: MINUTES=2
	@$(BIN)/python -m tests.fuzz.run $$((60 * $(or $(MINUTES),2))) $(TARGETS)

fuzz-http: $(DEV) ## compare the HTTP API of a real master with its OpenAPI document: EXAMPLES=300 SEED=7
	@$(BIN)/python -m tests.web.fuzz $(or $(EXAMPLES),300) $(or $(SEED),$$(date +%s))

bench: $(DEV) ## measure distq and a standard-library server side by side
	@$(BIN)/python -m benchmarks.plain
	@$(BIN)/python -m benchmarks.tasks_per_second
	@$(BIN)/python -m benchmarks.async_client
	@$(BIN)/python -m benchmarks.durable
	@$(BIN)/python -m benchmarks.many_tasks
	@$(BIN)/python -m benchmarks.whole_life
	@$(BIN)/python -m benchmarks.scrape
	@$(BIN)/python -m benchmarks.tls
	@$(BIN)/python -m benchmarks.payloads
	@$(BIN)/python -m benchmarks.floods

bench-peers: $(DEV) ## measure distq beside Celery, RQ, Dask, Ray and others, which it installs in .venv/peers: ROUNDS=3
	@cmp -s benchmarks/peers/requirements.lock .venv/peers/.lock || { \
		$(BIN)/uv venv --quiet --clear --python $(BIN)/python .venv/peers && \
		$(BIN)/uv pip sync --quiet --require-hashes --python .venv/peers/bin/python benchmarks/peers/requirements.lock && \
		cp benchmarks/peers/requirements.lock .venv/peers/.lock; }
	@$(BIN)/python -m benchmarks.peers --rounds $(or $(ROUNDS),3) $(ARGS)

bench-replicated: $(DEV) ## measure several masters on a PostgreSQL server of its own, and SQLite in the same run
	@$(BIN)/python -m benchmarks.replicated

budget: $(DEV) ## compare instructions of the ledger and the protocol with their budget; UPDATE=1 changes it; needs valgrind
	@$(BIN)/python -m benchmarks.budget $(if $(UPDATE),--update)

instructions: $(DEV) ## count machine instructions with valgrind; BESIDE=FOLDER adds another checkout
	@$(BIN)/python -m benchmarks.instructions $(BESIDE)

lint: $(DEV) ## check style, types, import layers, Dockerfiles, YAML and shell scripts
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright --pythonpath $(BIN)/python
	@$(BIN)/lint-imports --no-cache
	@$(BIN)/yamllint --strict .
	@$(BIN)/shellcheck $(SCRIPTS)
	@for file in $(DOCKERFILES); do echo "hadolint $$file"; $(BIN)/hadolint --config .hadolint.yaml "$$file" || exit 1; done

lint-compose: ## check the Compose files with dclint; needs npx
	@npx --yes dclint@3.1.0 --max-warnings 0 compose.yaml $(wildcard examples/own-tasks/*.yaml)

helm4: $(DEV) ## install Helm 4 next to Helm 3, for tests with both; needs Go
	@test -x $(BIN)/helm4 || { GOBIN="$(CURDIR)/$(BIN)/go" go install helm.sh/helm/v4/cmd/helm@v4.3.1 && \
		mv $(BIN)/go/helm $(BIN)/helm4 && rmdir $(BIN)/go; }

grafana: $(DEV) ## install Grafana's libraries of versions 11, 12 and 13, for tests of the dashboards; needs npm
	@mkdir -p .venv/grafana
	@cmp -s tests/kit/grafana/package-lock.json .venv/grafana/node_modules/.lock || { \
		cp tests/kit/grafana/package.json tests/kit/grafana/package-lock.json .venv/grafana/ && \
		npm ci --prefix .venv/grafana --legacy-peer-deps --ignore-scripts --no-audit --no-fund && \
		cp tests/kit/grafana/package-lock.json .venv/grafana/node_modules/.lock; }

nginx: $(DEV) ## unpack Debian's nginx, for tests of its blocks on the pages; needs apt
	@test -x .venv/nginx/usr/sbin/nginx || { mkdir -p .venv/nginx && cd .venv/nginx && \
		apt-get download -qq nginx && dpkg-deb --extract nginx_*.deb . && rm nginx_*.deb; }

keda: ## build KEDA's images for the cluster tests; needs Go, a container engine, and half an hour the first time
	@bash tools/keda.sh $(or $(KEDA_HOME),.venv/keda)

lint-workflows: $(DEV) ## check the release workflow with zizmor and actionlint; needs Go
	@$(BIN)/zizmor --offline --quiet .github/workflows
	@PATH="$(CURDIR)/$(BIN):$$PATH" go run github.com/rhysd/actionlint/cmd/actionlint@v1.7.7 .github/workflows/*.yml

pictures: $(DEV) ## draw README's pictures of the dashboards and of a terminal: MINUTES=15
	@$(BIN)/uv run --quiet --no-project --python $(BIN)/python --with matplotlib==3.11.2 --with rich \
		python -m tools.pictures $(or $(PROMETHEUS),http://127.0.0.1:9090) $(or $(MINUTES),15)

docs: $(DEV) ## build the site of the documentation in build/site; a warning is an error
	@$(BIN)/python -m tools.site build/site
	@echo "build/site/index.html is the front page."

outputs: $(DEV) ## run the commands of the pages and write their outputs below them
	@$(BIN)/python -m tools.outputs

format: $(DEV) ## format the Python files
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

lock: $(DEV) ## pin the dependencies; UPGRADE=--upgrade takes the newest versions
	@$(COMPILE) --output-file requirements.lock
	@$(COMPILE) --group dev --constraint requirements.lock --output-file requirements-dev.lock
	@$(subst pyproject.toml,images/postgresql.in,$(COMPILE)) --constraint requirements-dev.lock \
		--output-file images/postgresql.lock
	@$(subst pyproject.toml,benchmarks/peers/requirements.in,$(COMPILE)) --output-file benchmarks/peers/requirements.lock

audit: $(DEV) ## check licences and known vulnerabilities of the pinned packages: ARGS=--strict fails without data
	@$(BIN)/python -m tools.audit $(ARGS)

sbom: $(DEV) ## write the bill of materials of a release, in CycloneDX, to dist/distq.cdx.json
	@mkdir -p dist
	@$(BIN)/python -m tools.sbom dist/distq.cdx.json

build: $(DEV) ## build the wheel and the source archive in dist/
	@$(BIN)/uv build --quiet --no-build-isolation --python $(BIN)/python
	@ls dist

clean: ## remove everything that other targets created
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
