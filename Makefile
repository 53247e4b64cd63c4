# One environment, .venv, made from the three packages' own metadata. `make serve` and `make test` need nothing
# but Python 3.11 or newer, git and make.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
PIP := PYTHONWARNINGS=ignore $(BIN)/python -m pip --disable-pip-version-check
SHOWN := $(if $(CI),--quiet)# a person sees what is downloaded, and how far
PACKAGES := pyproject.toml server/pyproject.toml clients/python/pyproject.toml
MKDOCS := NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs
TS := clients/typescript
NODE := $(shell node -e 'process.exit(parseInt(process.versions.node) < 20 ? 1 : 0)' 2>/dev/null && command -v npm)
SOURCES := vssm server/vssm_server clients/python tests benchmarks

.PHONY: help serve test test-gpu check ts docs docs-serve format bench bench-gpu bench-scaling bench-serve reproduce reproduce-gpu chaos fuzz rolling hosts soak soak-clients compose-test clean

help: ## what can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-13s %s\n", $$1, $$2}'

serve: .venv/.runtime ## the server on 127.0.0.1:8000 (VSSM_PORT=9000 make serve for another port)
	@exec $(BIN)/vssm-server serve

test: .venv/.dev iproute2 chromium ts-build ## all tests, a file on each core
	$(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 --dist loadfile

test-gpu: .venv/.dev ## the kernels and generation on a CUDA device: bits, gradients, a million steps
	@$(BIN)/python -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' \
	  || { echo "test-gpu was not run: it needs a CUDA device and PyTorch built for it" \
	  "(https://pytorch.org/get-started/locally/)." >&2; exit 1; }
	$(BIN)/python -m pytest tests/vssm/cuda --durations=5

check: .venv/.dev ts-check ## format, lint, types, what is deployed, and the documentation with its links
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	deploy/check.sh $(BIN)
	@$(MKDOCS) build --strict --quiet

docs: .venv/.dev ## build the documentation into site/
	$(MKDOCS) build --strict

docs-serve: .venv/.dev ## show the documentation on 127.0.0.1:8001, and every change to it
	$(MKDOCS) serve --dev-addr 127.0.0.1:8001

ts: ts-check ts-build ## the TypeScript client alone: format, lint, types, build, tests
	@test -n "$(NODE)"
	$(BIN)/python -m pytest tests/clients/test_typescript.py

format: .venv/.dev ## put the source into the format that `check` wants
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: .venv/.dev ## speed beside a Transformer and a Mamba on the CPU, into benchmarks/results (about 10 minutes)
	$(BIN)/python -m benchmarks.speed

bench-gpu: .venv/.dev ## the same on a CUDA device, and its kernels one by one
	$(BIN)/python -m benchmarks.speed --device cuda
	$(BIN)/python -m benchmarks.gpu_kernels

compose-test: .venv/.dev ## build the images, run docker-compose.yml, test it from outside, take it down
	@docker info >/dev/null 2>&1 && docker compose version >/dev/null 2>&1 \
	  || { echo "compose-test was not run: it needs a running Docker Engine with Compose v2" \
	  "(https://docs.docker.com/engine/install/)." >&2; exit 1; }
	docker compose build --quiet
	docker image ls --filter reference='vssm-*' --filter reference=python:3.11-slim
	COMPOSE_TEST=1 $(BIN)/python -m pytest tests/compose --durations=5

chaos: .venv/.dev ## random kills and stops of every process under load (5,000 requests, about 3 minutes)
	$(BIN)/python -m tests.chaos

fuzz: .venv/.dev ## hostile input: 20,000 requests, 10^6 inputs of decoders, broken HTTP (about 8 minutes)
	$(BIN)/python -m tests.fuzz

rolling: .venv/.dev ## every process restarted once under load
	$(BIN)/python -m tests.chaos --rolling --requests 1000

hosts: .venv/.dev iproute2 ## workers on hosts of their own (network namespaces) whose link is cut; needs root
	$(BIN)/python -m tests.chaos --hosts --requests 1000

soak: .venv/.dev ## 30 minutes of mixed load at saturation: memory, files and keys must stay; into benchmarks/results
	$(BIN)/python -m tests.soak

soak-clients: .venv/.dev ## 10,000 idle connections and 200 slow readers; 10,000 streams whose clients vanish
	$(BIN)/python -m tests.soak.connections
	$(BIN)/python -m tests.soak.vanish

bench-scaling: .venv/.dev ## more workers, the transport alone, a worker's death; into benchmarks/results
	$(BIN)/python -m benchmarks.scaling

bench-serve: .venv/.dev ## HTTP, queue and worker beside the bare engine; into benchmarks/results
	$(BIN)/python -m benchmarks.serve

reproduce: .venv/.dev ## train and measure all families on MNIST, CIFAR-10 and text, into docs/results.md (about 50 minutes)
	$(BIN)/python -m benchmarks.reproduce

reproduce-gpu: .venv/.dev ## the same with larger models on a CUDA device, into docs/results-gpu.md
	$(BIN)/python -m benchmarks.reproduce --device cuda

.PHONY: ts-check ts-build ts-types
ifneq ($(NODE),)
ts-types: .venv/.dev $(TS)/node_modules/.package-lock.json ## the TypeScript client's types anew, after a change of the API
	cd $(TS) && npm run --silent types

ts-check: .venv/.dev $(TS)/node_modules/.package-lock.json
	cd $(TS) && npm run --silent check

ts-build: $(TS)/node_modules/.package-lock.json
	cd $(TS) && npm run --silent build -- --noCheck

$(TS)/node_modules/.package-lock.json: $(TS)/package-lock.json
	cd $(TS) && npm ci --silent
else
ts-check ts-build ts-types: # the tests say that they were not run
	@echo "The TypeScript client was not checked or built: it needs Node 20 or newer with npm (https://nodejs.org)." >&2
endif

.PHONY: iproute2
iproute2: # the command ip; without it, or without root, what needs it says that it was not run
	@command -v ip >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	  && apt-get update -qq >/dev/null 2>&1 \
	  && apt-get install -y -qq --no-install-recommends iproute2 >/dev/null 2>&1; } || true

.PHONY: chromium
chromium: # the browser; without it, or without root, the tests of the playground say that they were not run
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null \
	  || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
	  && apt-get update -qq >/dev/null 2>&1 \
	  && apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >/dev/null 2>&1; } || true

clean: ## remove the environment and caches
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis $(TS)/node_modules $(TS)/dist $(TS)/build

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	  || { echo "Python 3.11 or newer is needed; name one with: make PYTHON=/path/to/python3.11 ..." >&2; exit 1; }
	@$(PYTHON) -m venv .venv \
	  || { rm -rf .venv; echo "This Python has no venv; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@$(PIP) --quiet install --upgrade pip

.venv/.runtime: .venv/bin/python $(PACKAGES)
	@echo "Installing into .venv, once: some minutes, most of them for PyTorch. Where there is no GPU, its CPU build"
	@echo "needs a quarter of the space: PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu make $(MAKECMDGOALS)"
	@$(PIP) $(SHOWN) install -e . -e 'server[worker,tracing]' -e 'clients/python[cli,numpy]'
	@touch $@

.venv/.dev: .venv/.runtime
	@$(PIP) $(SHOWN) install -e '.[dev]'
	@touch $@
