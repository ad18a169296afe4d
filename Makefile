# Two commands are enough: `make run` starts Hark, `make test` proves it. `make help` lists the rest.
# What is installed or generated leaves a stamp in .venv, so that a second run needs neither time nor network.

PYTHON ?= python3
ARGS ?=
JOBS := 2
N := 300
SECONDS := 60
SEEDS := 300
SEED :=
DURATION_S := 300
KILLS := 50
HOURS := 24

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
INSTALL := $(PIP) install --quiet --constraint constraints.txt
PROTOS := $(sort $(wildcard proto/*/*.proto proto/*/*/*.proto))
PB := gateway/pb
AUDIT := tests/web/audit
CLIENTS := tests/web/clients

# Python finds its own place by PATH, so an empty environment gets the usual one.
export PATH ?= /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

# Where this is set, each of the many processes would compile all of its modules whenever it starts.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run test test-all bench bench-quick bench-curves flames screenshots powercut kills simulate teeth fuzz overload chaos chaos-mixes soak lint format proto clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo '  Arguments go through ARGS, as in: make run ARGS="--workers 8"'

run: $(VENV)/.run $(VENV)/.proto ## install what Hark needs and start it with sample data
	@exec $(BIN)/python supervisor.py $(ARGS)

# The tests prove that gateway/pb is fresh, so they must not find it freshly written. Most of them wait for processes
# most of the time, so they share the machine (JOBS=0 runs one after the other).
test: $(VENV)/.dev $(VENV)/.audit $(VENV)/.clients ## run the tests, all but the slow ones
	@exec $(BIN)/python -m pytest -m "not slow and not bench" --numprocesses $(JOBS) --dist worksteal $(ARGS)

test-all: $(VENV)/.dev $(VENV)/.audit $(VENV)/.clients ## run the tests, slow ones too
	@exec $(BIN)/python -m pytest -m "not bench" $(ARGS)

bench: $(VENV)/.dev ## measure, each figure beside its limit
	@exec $(BIN)/python -m benchmarks $(ARGS)

bench-quick: $(VENV)/.dev ## the same in under 2 minutes, with shorter and fewer rounds
	@exec $(BIN)/python -m benchmarks --quick $(ARGS)

bench-curves: $(VENV)/.dev ## measure how cost grows, and plot it into docs/curves
	@exec $(BIN)/python -m benchmarks.curves $(ARGS)

flames: $(VENV)/.dev ## take a flame graph of each process under its hottest work, into docs/flames
	@exec $(BIN)/python -m benchmarks.flames $(ARGS)

screenshots: $(VENV)/.dev ## take the pictures of the pages in docs anew, in a browser
	@exec $(BIN)/python -m tests.web.screenshots

powercut: $(VENV)/.dev ## cut the power N times and let every deed on a file fail (N=300 SEED=)
	@exec $(BIN)/python -m tests.power --cuts $(N) $(if $(SEED),--seed $(SEED))

chaos: $(VENV)/.dev ## let everything happen to a farm under load, and judge it (DURATION_S=300 SEED= ARGS="--mix disk")
	@exec $(BIN)/python -m tests.chaos --duration-s $(DURATION_S) $(if $(SEED),--seed $(SEED)) $(ARGS)

chaos-mixes: $(VENV)/.dev ## the same with each of twelve mixes of faults in turn
	@exec $(BIN)/python -m tests.chaos --mixes --duration-s $(DURATION_S) $(if $(SEED),--seed $(SEED))

soak: $(VENV)/.dev ## run a farm for HOURS with a fault a minute, and look whether anything grows (HOURS=24 SEED=)
	@exec $(BIN)/python -m tests.chaos.soak --hours $(HOURS) $(if $(SEED),--seed $(SEED))

kills: $(VENV)/.dev ## kill each kind of process KILLS times, and say how long it was away (KILLS=50)
	@exec $(BIN)/python -m tests.supervision --kills $(KILLS)

simulate: $(VENV)/.dev ## run SEEDS simulated minutes, or exactly that of one SEED (SEEDS=300 SEED=)
	@exec $(BIN)/python -m tests.simulation --seeds $(SEEDS) $(if $(SEED),--seed $(SEED))

teeth: $(VENV)/.dev ## break six mechanisms, one after the other, and see the tests of each turn red
	@exec $(BIN)/python -m tests.teeth $(ARGS)

fuzz: $(VENV)/.dev ## send each port N inputs that are nearly right (N=100000 PORT= SEED=)
	@exec $(BIN)/python -m tests.fuzz $(if $(filter file,$(origin N)),,--inputs $(N)) \
	  $(if $(PORT),--port "$(PORT)") $(if $(SEED),--seed $(SEED))

overload: $(VENV)/.dev ## ask more of a farm than it can do, and let very many follow one author (SECONDS=60)
	@exec $(BIN)/python -m tests.load --seconds $(SECONDS) $(ARGS)

lint: $(VENV)/.dev ## check formatting, style, types and protos
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/buf lint proto

format: $(VENV)/.dev ## rewrite the code in the one format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

proto: $(VENV)/.run ## write gateway/pb from proto
	@$(call generate)

clean: ## remove what make made; the data of a running Hark stays
	rm -rf $(VENV) $(AUDIT)/node_modules $(CLIENTS)/node_modules build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Mapping the folder onto the package's path makes protoc write imports that are right as they are.
define generate
$(BIN)/python -m grpc_tools.protoc -I$(PB)=proto --python_out=. --pyi_out=. --grpc_python_out=. \
	$(PROTOS)
touch $(VENV)/.proto
endef

$(VENV)/.proto: $(PROTOS) $(VENV)/.run
	@$(call generate)

# Debian ships venv apart from Python and fails half way without it, so both are looked for first.
$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo 'Hark needs Python 3.11 or later as "$(PYTHON)". Install it, or name another:' \
	       'make PYTHON=python3.12 run' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo 'Python lacks its venv module. On Debian and Ubuntu: apt-get install python3-venv' >&2; \
	  exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@touch $@

# The build tool is pinned like everything else, therefore no isolated build that would fetch its own.
$(VENV)/.run: $(VENV)/.made pyproject.toml constraints.txt
	@echo 'installing what Hark needs into $(VENV) ...'
	@$(INSTALL) setuptools
	@$(INSTALL) --no-build-isolation --editable '.[proto]'
	@touch $@

$(VENV)/.dev: $(VENV)/.run
	@echo 'installing what the tests and checks need into $(VENV) ...'
	@$(INSTALL) --no-build-isolation --editable '.[proto,test,dev]'
	@touch $@

# Some tests run in Node. Where that is missing there is no stamp, and they say that they did not run.
$(VENV)/.audit: $(AUDIT)/package-lock.json $(VENV)/.made
	@$(call npm,$(AUDIT),the audits of GraphQL over HTTP and of the pages)

$(VENV)/.clients: $(CLIENTS)/package-lock.json $(VENV)/.made
	@$(call npm,$(CLIENTS),the clients of live events)

define npm
if command -v node >/dev/null && command -v npm >/dev/null; then \
  echo 'installing $(2) into $(1) ...'; \
  npm ci --prefix $(1) --ignore-scripts --no-audit --no-fund --loglevel=error >/dev/null && touch $@; \
else echo 'Node and npm are missing: $(2) will not run'; fi
endef
