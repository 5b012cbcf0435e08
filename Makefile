# `make` alone lists what there is to do. Everything runs in .venv, which follows pyproject.toml and constraints.txt.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# Not 9092, where `make kafka` or a Kafka of your own may be running.
TEST_PORT := 9192
NO_SERVICES := not kafka and not faults and not attacks and not postgres and not node
# One process a core; the tests of a file stay together, since they share what it starts.
PARALLEL := -n auto --dist loadfile

.PHONY: help install demo test test-slow test-all test-transmitter kafka test-kafka test-attacks test-faults bench bench-kafka bench-soak audit check format schemas docs train fit evaluate clean

help: ## Show this list
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(INSTALLED) ## Make .venv with everything in its tested version

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; name yours with: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || \
	  { echo "This Python cannot make virtual environments; on Debian: apt-get install python3-venv" >&2; exit 1; }
	@echo "Making $(VENV): the packages of constraints.txt (300 MB to fetch, 1.2 GB on disk), then compiling the code"
	@echo "that counts events. One to three minutes, and again only when pyproject.toml or constraints.txt changes."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt hatchling editables
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-build-isolation --editable '.[dev]'
	$(BIN)/python -m pipeline.worker.warmup
	@touch $@

demo: $(INSTALLED) ## Watch an attack being noticed and the session revoked, without Kafka
	$(BIN)/session-risk demo

test: $(INSTALLED) ## Run the tests that need no Kafka, no PostgreSQL and no node, without the slow ones (4 minutes on 2 cores)
	$(BIN)/pytest $(PARALLEL) -m "not slow and $(NO_SERVICES)"

test-slow: $(INSTALLED) ## Run the slow ones among them: simulated days, whole servers, the golden replay
	$(BIN)/pytest $(PARALLEL) -m "slow and $(NO_SERVICES)"

test-all: test test-slow test-transmitter test-kafka test-attacks test-faults ## Run every test, as CI does (Java, Maven, PostgreSQL, node, Prometheus)

tests/jose/node_modules/.installed: tests/jose/package.json tests/jose/package-lock.json
	npm ci --prefix tests/jose --no-audit --no-fund --ignore-scripts
	@touch $@

test-transmitter: $(INSTALLED) tests/jose/node_modules/.installed ## Run what needs PostgreSQL (started by the tests) or node
	$(BIN)/pytest -m "(postgres or node) and not kafka and not faults and not attacks"

kafka: ## Start Apache Kafka on 127.0.0.1:9092 without Docker; Ctrl-C stops it
	deploy/kafka/run.sh

test-kafka: $(INSTALLED) ## Run the tests that need Kafka, of their own unless SESSION_RISK_BROKER is set; one needs PostgreSQL, too
	deploy/kafka/with.sh $(TEST_PORT) $(BIN)/pytest -m "kafka and not attacks"

test-attacks: $(INSTALLED) ## Attack a worker and a transmitter, on a Kafka of their own where it needs one (at most five minutes)
	deploy/kafka/with.sh $(TEST_PORT) $(BIN)/pytest -m attacks

test-faults: $(INSTALLED) ## Break things around workers on Kafka, at moments drawn by each of SEEDS="1 2 3"; else by 1
	SEEDS="$(or $(SEEDS),1)" deploy/kafka/with.sh $(TEST_PORT) $(BIN)/pytest -m faults

bench: $(INSTALLED) ## Measure how fast it is on this machine, Kafka's part too (Java and Maven; some minutes)
	$(BIN)/python -m tests.benchmarks.bench_core
	$(BIN)/python -m tests.benchmarks.bench_memory
	$(BIN)/python -m tests.benchmarks.bench_sizes
	$(BIN)/python -m tests.benchmarks.bench_live tests/benchmarks/pictures/live.svg
	deploy/kafka/with.sh $(TEST_PORT) $(BIN)/python -m tests.benchmarks.bench_kafka tests/benchmarks/pictures/latency.svg
	deploy/kafka/with.sh $(TEST_PORT) $(BIN)/python -m tests.benchmarks.bench_overload
	deploy/kafka/with.sh $(TEST_PORT) $(BIN)/python -m tests.benchmarks.bench_two_workers
	deploy/kafka/with.sh $(TEST_PORT) $(BIN)/python -m tests.benchmarks.bench_recovery
	deploy/kafka/with.sh $(TEST_PORT) $(BIN)/python -m tests.benchmarks.bench_transmitter
	$(BIN)/python -m tests.benchmarks.bench_excluding

# Quix Streams has an environment of its own: its dependencies are not those of the project.
.venv-race/.installed: tests/benchmarks/race/requirements.txt
	$(PYTHON) -m venv .venv-race
	.venv-race/bin/python -m pip install --quiet --requirement $<
	@touch $@

bench-kafka: $(INSTALLED) .venv-race/.installed ## Race against Faust, Quix Streams and Kafka Streams (some minutes)
	RACE_QUIX_PYTHON=.venv-race/bin/python deploy/kafka/with.sh $(TEST_PORT) $(BIN)/python -m tests.benchmarks.bench_race

bench-soak: $(INSTALLED) ## Run a worker for MINUTES=30 at half of what it can do; memory, latency and files must stay
	MINUTES="$(or $(MINUTES),30)" deploy/kafka/with.sh $(TEST_PORT) $(BIN)/python -m tests.benchmarks.bench_soak

audit: $(INSTALLED) ## Ask an advisory source about every pinned dependency (needs one; ADVISORIES=osv: another one)
	deploy/audit.sh $(BIN)/python

check: $(INSTALLED) ## Check form, style, types and layers, and list long code; changes nothing
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@$(BIN)/python -m tests.support.long_code

format: $(INSTALLED) ## Bring the code into its form
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

schemas: $(INSTALLED) ## Write schemas/json/ anew from the models
	$(BIN)/python -m schemas.export

docs: $(INSTALLED) ## Write the generated parts of all pages and the picture of the flow anew
	$(BIN)/python -m pipeline.offline.docs.generate

train: $(INSTALLED) ## Train the default model anew
	$(BIN)/session-risk train

fit: $(INSTALLED) ## Learn the weights of the evidence anew, in simulated worlds (some minutes); WORLDS=FOLDER: the model and weights that ship, in labelled worlds
	$(BIN)/python -m pipeline.offline.evaluation --fit $(if $(WORLDS),--worlds $(WORLDS) --out models/artefacts/default --weights pipeline/decisions/fitted.toml)

evaluate: $(INSTALLED) ## Measure detection on worlds held out and on real recordings; writes models/EVALUATION.md; WORLDS=FOLDER: print it for labelled worlds instead
	$(BIN)/python -m pipeline.offline.evaluation $(if $(LOGS),--logs $(LOGS)) $(if $(WORLDS),--worlds $(WORLDS)) $(if $(JOBS),--jobs $(JOBS)) $(if $(LEFT_OUT),--leave-one-out)

clean: ## Remove .venv and everything else that can be made again
	rm -rf $(VENV) .venv-race tests/jose/node_modules tests/benchmarks/race/kafka_streams/target build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache .session-risk
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +
