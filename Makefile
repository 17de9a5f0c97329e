# The menu of everything a person does here. `make` alone prints it.
VAR ?= var
INSTANCES ?= 2
PORT ?= 8080
INSTANCE_PORT ?= 8101
MODEL ?=
VIDEO ?= $(VAR)/video/carphone_pristine.mp4
URL ?= http://127.0.0.1:$(PORT)
CAMERAS ?= 4
FPS ?= 5
SECONDS ?= 30
SLO_MS ?= 100
STREAMS ?= 100
SCENARIO ?= cameras
ARGS ?=
PYTHON ?= python3
FLEET ?= fleet.toml
HOSTS ?= tests/hosts
SSH_USER ?= root
BATCH ?= 1
INSTALL ?= /opt/framefleet
KEYS ?= $(or $(FRAMEFLEET_KEYS),$(VAR)/keys)
MINUTES ?= 10

COMMA := ,
PY := .venv/bin/python
ON_HOST = $(INSTALL)/current/bin/framefleet
UP_OPTIONS = --var $(VAR) --instances $(INSTANCES) --port $(PORT) --instance-port $(INSTANCE_PORT) $(if $(MODEL),--model $(MODEL)) \
	$(if $(RATE),--rate $(RATE)) $(if $(BURST),--burst $(BURST)) $(if $(CONCURRENCY),--concurrency $(CONCURRENCY))
REPLAY = $(PY) -m loadtest replay --url $(URL) --video $(VIDEO) --cameras $(CAMERAS) --fps $(FPS) --seconds $(SECONDS) --out $(VAR)/report
PLAN = $(or $(CAPACITY),$(VAR)/capacity/capacity.json) --streams $(STREAMS) --fps $(FPS) $(if $(P95_MS),--p95-ms $(P95_MS)) $(ARGS)
REACH = --fleet $(FLEET) --ssh-user $(SSH_USER) $(if $(ONLY),--only $(ONLY))
NEWEST = $(lastword $(sort $(wildcard build/framefleet-*.tar)))
LOCK = .venv/bin/uv pip compile pyproject.toml --universal --python-version 3.10 --no-python-downloads \
	--generate-hashes --no-annotate --no-header --no-emit-index-url --no-emit-find-links --quiet

.DEFAULT_GOAL := help
.PHONY: help setup demo up status logs smoke down key certificate model engine torch bundle deploy rollback undeploy deploy-fleet rollback-fleet \
	drain undrain render config-check diff replay detect scenario load-ui \
	capacity plan simulate scaling chaos test test-slow test-hosts check-trt test-gpu bench bench-gpu lint format \
	lock audit clean

##@ Start here
help: ## Print this menu
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Install everything into .venv and ./var: packages, nginx, the default model, sample videos
	@PYTHON=$(PYTHON) VAR=$(VAR) tools/setup.sh

demo: ## The main job in one command: 2 instances, 30 s of video, a report, and down again (VIDEO=path)
	@$(PY) -m deploy exec $(UP_OPTIONS) -- $(REPLAY)

##@ Run a fleet on this machine
up: ## Start INSTANCES=2 behind nginx on PORT=8080 (INSTANCE_PORT=8101 MODEL=path RATE= BURST= CONCURRENCY=)
	@$(PY) -m deploy up $(UP_OPTIONS)

status: ## Show every process: state, pid, uptime, ready or not
	@$(PY) -m deploy status --var $(VAR)

logs: ## Follow all logs (Ctrl-C to leave)
	@$(PY) -m deploy logs --var $(VAR)

smoke: ## Check every instance and the balancer with one real picture
	@$(PY) -m deploy smoke --var $(VAR)

down: ## Stop the fleet; requests in flight are answered first
	@$(PY) -m deploy down --var $(VAR)

key: ## Make an API key for NAME=, shown once; its hash goes into KEYS=./var/keys (SCOPES=detect,operate)
	@$(PY) -m service.keys $(NAME) --file $(KEYS) $(if $(SCOPES),--scopes $(SCOPES))

certificate: ## Make a self-signed certificate for NAME=host (ADDRESS=10.0.0.11) in ./var/tls, for trials of [tls]
	@mkdir -p $(VAR)/tls && umask 077 && openssl req -x509 -nodes -days 90 -subj "/CN=$(NAME)" \
		-addext "subjectAltName=DNS:$(NAME)$(if $(ADDRESS),$(COMMA)IP:$(ADDRESS))" -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 \
		-keyout $(VAR)/tls/key.pem -out $(VAR)/tls/fullchain.pem 2>&1 && echo "$(VAR)/tls/fullchain.pem $(VAR)/tls/key.pem"

##@ Bring your own model
model: ## Inspect MODEL=path-or-URL and make it servable in ./var/models (SHA256= NAMES= SIZE= LAYOUT= PLUGIN=)
	@$(PY) -m service.model $(MODEL) --var $(VAR) $(if $(SHA256),--sha256 $(SHA256)) $(if $(NAMES),--names $(NAMES)) \
		$(if $(SIZE),--size $(SIZE)) $(if $(LAYOUT),--layout $(LAYOUT)) $(if $(PLUGIN),--plugin $(PLUGIN))

engine: ## Build a TensorRT engine from MODEL=serving graph on this GPU (PRECISION=fp16 MAX_BATCH= FRAMES=)
	@$(PY) -m service.model.build $(MODEL) $(if $(PRECISION),--precision $(PRECISION)) \
		$(if $(MAX_BATCH),--max-batch $(MAX_BATCH)) $(if $(FRAMES),--frames $(FRAMES))

torch: ## Install the optional torch engine and TensorRT-RTX, for .torchscript models and check-trt
	@.venv/bin/python -m pip install --disable-pip-version-check --quiet torch==2.13.0 tensorrt-rtx-cu13==1.7.1.116

##@ Put it on servers (docs/deploy.md)
bundle: ## Pack code, wheels, model and FLEET=fleet.toml into ./build, for hosts without a network (SLICE_MB=)
	@$(PY) -m deploy bundle --fleet $(FLEET) --out build $(if $(SLICE_MB),--slice-mb $(SLICE_MB))

deploy: ## As root: make BUNDLE=file.tar serve on this host without downtime, or change nothing (FLEET= HOST=)
	@$(if $(BUNDLE),,$(PY) -m deploy bundle --fleet $(FLEET) --out build &&) \
		INSTALL=$(INSTALL) tools/deploy.sh $(or $(BUNDLE),"$$(ls -t build/framefleet-*.tar | head -n 1)") \
		$(if $(filter command,$(firstword $(origin FLEET))),--fleet $(FLEET)) $(if $(HOST),--host $(HOST))

rollback: ## As root: go back to the release before
	@$(ON_HOST) rollback

undeploy: ## As root: stop and remove everything but the logs
	@$(ON_HOST) undeploy

deploy-fleet: ## Deploy BUNDLE (the newest) over ssh: a canary, then BATCH=1 hosts at a time, up to the first failure (ONLY=a,b)
	@$(PY) -m deploy deploy-fleet $(REACH) --bundle $(or $(BUNDLE),$(NEWEST)) --batch $(BATCH)

rollback-fleet: ## Take every host back to its release before
	@$(PY) -m deploy rollback-fleet $(REACH)

drain: ## Let the balancers send HOST= no requests
	@$(PY) -m deploy drain-fleet $(HOST) $(REACH)

undrain: ## Send HOST= requests again
	@$(PY) -m deploy undrain-fleet $(HOST) $(REACH)

render: ## Write every host's files, and those for Prometheus and Grafana, into ./build
	@$(PY) -m deploy render --fleet $(FLEET) --out build

config-check: ## Let nginx, supervisor, systemd and the service read them
	@$(PY) -m deploy config-check --fleet $(FLEET) --out build

diff: ## Show what would change in the files this host runs with
	@$(PY) -m deploy diff --fleet $(FLEET)

##@ Use and measure it
detect: ## Send VIDEO=path to URL and save the annotated clip as ./var/detect.mp4
	@$(PY) -m service.client $(VIDEO) --url $(URL) --save $(VAR)/detect.mp4

replay: ## Replay VIDEO as CAMERAS=4 at FPS=5 for SECONDS=30 against URL; report in ./var/report
	@$(REPLAY)

scenario: ## Make one scenario against URL: SCENARIO=cameras (server offline single soak overload chaos deploy), ARGS=...
	@$(PY) -m loadtest scenario $(SCENARIO) --url $(URL) --video $(VIDEO) --out $(VAR)/scenario $(ARGS)

load-ui: ## Open Locust's web page for URL on http://127.0.0.1:8089
	@$(PY) -m loadtest ui --url $(URL) --video $(VIDEO) --out $(VAR)/locust

capacity: ## Find what URL holds within SLO_MS=100: capacity.json and a page in ./var/capacity (BASELINE=file, ARGS=...)
	@$(PY) -m loadtest capacity --url $(URL) --video $(VIDEO) --slo-ms $(SLO_MS) --out $(VAR)/capacity \
		$(if $(BASELINE),--baseline $(BASELINE)) $(ARGS)

plan: ## Hosts and GPUs for STREAMS=100 cameras at FPS=5 (P95_MS=, CAPACITY="files", ARGS="--gpu-price 2 ...")
	@$(PY) -m loadtest plan $(PLAN)

simulate: ## The same plan, tried in a simulation with a host that fails
	@$(PY) -m loadtest simulate $(PLAN)

##@ Work on it
test: ## Run the tests: unit, integration and end to end (10 minutes)
	@$(PY) -m pytest -m "not slow"

test-slow: ## Run those that take longest: the pages in Chromium, fuzzing, scenarios, chaos (another 15)
	@$(PY) -m pytest -m slow

test-hosts: ## Boot Debian machines with systemd and deploy on them (root, debootstrap, systemd-container; 20 minutes)
	@$(PY) -m pytest $(HOSTS) -m hosts

check-trt: ## Parse and build serving graphs with TensorRT-RTX, which needs no GPU (after `make torch`)
	@$(PY) -m bench.check_trt

test-gpu: ## Run the tests that need an NVIDIA GPU
	@$(PY) -m pytest tests/gpu -m gpu

bench-gpu: ## Measure the engines on this GPU, bare and through the service
	@$(PY) -m bench.gpu

bench: ## Measure overload and scaled decoding on this machine (10 minutes; nothing else should run)
	@$(PY) -m bench.jpeg_scaling && $(PY) -m bench.overload

scaling: ## Predict 4 simulated instances from 1 and 2, and measure them (25 minutes; nothing else should run)
	@$(PY) -m bench.scaling --out $(VAR)/scaling

chaos: ## Provoke every fault under load, then MINUTES=10 of random ones, on two models; docs/reliability.md (1 hour; needs root)
	@$(PY) -m chaos --minutes $(MINUTES) $(ARGS)

lint: ## Check style and types
	@.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/mypy

format: ## Rewrite the code in the house format
	@.venv/bin/ruff check --fix . ; .venv/bin/ruff format .

lock: ## Resolve the locked dependencies anew, after a change in pyproject.toml
	@$(LOCK) --extra load --extra fleet --extra dev -o lock/dev.txt
	@$(LOCK) -c lock/dev.txt -o lock/service.txt && $(LOCK) -c lock/dev.txt --extra load -o lock/load.txt

audit: ## Ask PyPI which locked packages have known vulnerabilities
	@tools/audit.sh

clean: ## Remove what was built: ./build and caches; ./var and .venv stay
	@rm -rf build .pytest_cache .mypy_cache .ruff_cache .hypothesis
