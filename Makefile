# The menu of everything a person does here. `make` alone prints it.

# What may be given, as in `make up PORT=9000`. Only make's command line counts, and a value is taken as it stands there:
# HOST, NAME or SECONDS in the environment come from a shell, conda or WSL, and a $ in an address is no variable of make.
# By design in the environment: FRAMEFLEET_* settings, FLEET_API_KEY, and what pip needs to reach an index.
GIVEN := ADDRESS ARGS BASELINE BATCH BUNDLE BURST CACERT CAMERAS CAPACITY CONCURRENCY CPUS FLEET FPS FRAMES HOST HOSTS INSTALL \
	INSTANCES INSTANCE_PORT KEYS LAYOUT MAX_BATCH MINUTES MODEL NAME NAMES ONLY P95_MS PLUGIN PORT PRECISION PYTHON RATE \
	ROUNDS SCENARIO SCOPES SECONDS SHA256 SIGN_KEY SIZE SLICE_MB SLO_MS SSH_USER STREAMS TESTS TURN_S URL VAR VIDEO
define NEWLINE


endef
typed = $(and $(filter command,$(firstword $(origin $1))),$(value $1))
# Some shells leave a ~/ at the front to others. No value has a line break, so that one can stand for the front.
home = $(subst $(NEWLINE),,$(subst $(NEWLINE)~/,$(or $(value HOME),~)/,$(NEWLINE)$(value $1)))
$(foreach name,$(GIVEN),$(if $(findstring $(NEWLINE),$(call typed,$(name))),$(error $(name)= has a line break; leave it out)))
$(foreach name,$(GIVEN),$(eval override $(if $(call typed,$(name)),$(name) := $$(call home,$(name)),undefine $(name))))

# A value for the shell, which neither splits it nor runs anything in it; nothing where none was given.
q = $(if $($1),'$(subst ','\'',$($1))')
# --name='value', where one was given.
option = $(if $($2),$1=$(call q,$2))
# Several values with blanks between them, and quotes around one that has blanks itself; or one file with any name.
several = $(if $($1),$(shell $(PY) -I tools/words.py $1 $(call q,$1))$(if $(filter 0,$(.SHELLSTATUS)),,$(error $1= cannot be read)))

# Defaults that the tools behind the targets do not have themselves.
VAR ?= var
VIDEO ?= $(VAR)/video/carphone_pristine.mp4
CAMERAS ?= 4
FPS ?= 5
SECONDS ?= 30
SLO_MS ?= 100
STREAMS ?= 100
SCENARIO ?= cameras
HOSTS ?= tests/hosts
INSTALL ?= /opt/framefleet
KEYS ?= $(or $(value FRAMEFLEET_KEYS),$(VAR)/keys)

PY := .venv/bin/python
ON_HOST = $(call q,INSTALL)/current/bin/framefleet
UP_OPTIONS = --var=$(call q,VAR) $(call option,--instances,INSTANCES) $(call option,--port,PORT) \
	$(call option,--instance-port,INSTANCE_PORT) $(call option,--model,MODEL) \
	$(call option,--cpus-per-instance,CPUS) $(call option,--rate,RATE) $(call option,--burst,BURST) $(call option,--concurrency,CONCURRENCY)
# Whom the tools ask: URL=, or what listens on PORT= of this machine, or the fleet that runs in VAR.
AT = $(or $(call option,--url,URL),$(if $(PORT),--url=http://127.0.0.1:$(call q,PORT)),--var=$(call q,VAR)) $(call option,--cacert,CACERT)
REPLAY = $(PY) -m loadtest replay $(AT) --video=$(call q,VIDEO) --cameras=$(call q,CAMERAS) --fps=$(call q,FPS) \
	--seconds=$(call q,SECONDS) --out=$(call q,VAR)/report
PLAN = --streams=$(call q,STREAMS) --fps=$(call q,FPS) $(call option,--p95-ms,P95_MS) $(call several,ARGS) \
	-- $(or $(call several,CAPACITY),$(call q,VAR)/capacity/capacity.json)
INVENTORY = --fleet=$(or $(call q,FLEET),fleet.toml)
MAKE_BUNDLE = $(PY) -m deploy bundle $(INVENTORY) --out=build $(call option,--sign-key,SIGN_KEY)
REACH = $(INVENTORY) --ssh-user=$(or $(call q,SSH_USER),root) $(call option,--only,ONLY)
NEWEST = $(or $(lastword $(sort $(wildcard build/framefleet-*.tar))),$(error no bundle in ./build; run `make bundle` first))
LOCK = $(PY) -m uv pip compile pyproject.toml --universal --python-version 3.10 --no-python-downloads \
	--generate-hashes --no-annotate --no-header --no-emit-index-url --no-emit-find-links --quiet

TARGETS := help setup dev demo up status logs smoke down key certificate model engine torch bundle deploy rollback undeploy \
	deploy-fleet rollback-fleet drain undrain render config-check diff replay detect scenario load-ui capacity tune plan simulate \
	scaling chaos siege test test-slow test-hosts check-trt test-gpu bench bench-guard bench-link \
	bench-peers bench-gpu lint format lock audit clean
.DEFAULT_GOAL := help
.PHONY: $(TARGETS) not-set-up ready ready-dev
# With -j in MAKEFLAGS, `make setup demo` would do both at once.
.NOTPARALLEL:

# What the environment says to Python, make and shells must not change what runs here.
unexport $(GIVEN) MAKEFLAGS BASH_ENV ENV CDPATH $(filter PYTHON%,$(.VARIABLES))
# File names and files are UTF-8 whatever the locale.
export PYTHONUTF8 := 1

# The last thing that installing packages writes; one that was cut off has no such file.
SET_UP := $(and $(realpath $(PY)),$(wildcard .venv/installed-lock))
WITHOUT_SET_UP := help setup dev rollback undeploy certificate clean $(if $(BUNDLE),deploy)
# These set up what they need by themselves; where it is there already, that takes a moment. Hosts are reached by Ansible,
# which is among what `make dev` installs.
SETTING_UP := demo up
SETTING_UP_DEV := deploy-fleet rollback-fleet drain undrain test test-slow test-hosts lint format lock audit
$(filter-out $(WITHOUT_SET_UP) $(SETTING_UP) $(SETTING_UP_DEV),$(TARGETS)): | $(if $(SET_UP),,not-set-up)
$(SETTING_UP): | ready
$(SETTING_UP_DEV): | ready-dev
not-set-up:
	$(error .venv is missing or half installed: run `make setup` first)
ready:
	@tools/setup.sh --quick --var=$(call q,VAR) $(call option,--python,PYTHON)
ready-dev:
	@tools/setup.sh --quick --dev $(call option,--python,PYTHON)

##@ Start here
help: ## Print this menu
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' Makefile

setup: ## Install what running it takes into .venv and ./var: packages, nginx, the default model, sample videos
	@tools/setup.sh --var=$(call q,VAR) $(call option,--python,PYTHON)

demo: ## The main job in one command, set-up too: 2 instances, 30 s of video, a report, and down again (VIDEO=path)
	@$(PY) -m deploy exec --check $(UP_OPTIONS) -- $(REPLAY)

##@ Run a fleet on this machine
up: ## Start INSTANCES=2 behind nginx on PORT=8080 (CPUS=auto INSTANCE_PORT=8101 MODEL=path RATE= BURST= CONCURRENCY=)
	@$(PY) -m deploy up $(UP_OPTIONS)

status: ## Show every process: state, pid, uptime, ready or not
	@$(PY) -m deploy status --var=$(call q,VAR)

logs: ## Follow all logs (Ctrl-C to leave)
	@$(PY) -m deploy logs --var=$(call q,VAR)

smoke: ## Check every instance and the balancer with one real picture
	@$(PY) -m deploy smoke --var=$(call q,VAR)

down: ## Stop the fleet; requests in flight are answered first
	@$(PY) -m deploy down --var=$(call q,VAR)

key: ## Make an API key for NAME=, shown once; its hash goes into KEYS=./var/keys (SCOPES=detect,operate)
	@$(PY) -m service.keys --file=$(call q,KEYS) $(call option,--scopes,SCOPES) -- $(call q,NAME)

certificate: ## Make a self-signed certificate for NAME=host (ADDRESS=10.0.0.11) in ./var/tls, for trials of [tls]
	@tools/certificate.sh $(call q,VAR)/tls $(or $(call q,NAME),'') $(call q,ADDRESS)

##@ Bring your own model
model: ## Inspect MODEL=path-or-URL and make it servable in ./var/models (SHA256= NAMES= SIZE= LAYOUT= PLUGIN=)
	@$(PY) -m service.models --var=$(call q,VAR) $(call option,--sha256,SHA256) $(call option,--names,NAMES) \
		$(call option,--size,SIZE) $(call option,--layout,LAYOUT) $(call option,--plugin,PLUGIN) -- $(call q,MODEL)

engine: ## Build a TensorRT engine from MODEL=serving graph on this GPU (PRECISION=fp16 MAX_BATCH= FRAMES=)
	@$(PY) -m service.models.build $(call option,--precision,PRECISION) $(call option,--max-batch,MAX_BATCH) \
		$(call option,--frames,FRAMES) -- $(call q,MODEL)

torch: ## Install the optional torch engine and TensorRT-RTX, for .torchscript models and check-trt
	@$(PY) -m framefleet.pip install --disable-pip-version-check --quiet torch==2.13.0 tensorrt-rtx-cu13==1.7.1.116

##@ Put it on servers (docs/deploy.md)
bundle: ## Pack code, wheels, model and FLEET=fleet.toml into ./build, for hosts without a network (SLICE_MB= SIGN_KEY=)
	@$(MAKE_BUNDLE) $(call option,--slice-mb,SLICE_MB)

deploy: ## As root: make BUNDLE=file.tar serve on this host, or what served before (FLEET= HOST= SIGN_KEY=)
	@$(if $(BUNDLE),,$(MAKE_BUNDLE) &&) INSTALL=$(call q,INSTALL) PYTHON=$(call q,PYTHON) \
		tools/deploy.sh $(or $(call q,BUNDLE),"$$(ls -t build/framefleet-*.tar | head -n 1)") \
		$(call option,--fleet,FLEET) $(call option,--host,HOST)

rollback: ## As root: go back to the release before
	@$(ON_HOST) rollback

undeploy: ## As root: stop and remove everything but the logs
	@$(ON_HOST) undeploy

deploy-fleet: ## Deploy BUNDLE (the newest) over ssh: a canary, then BATCH=1 hosts at a time, up to the first failure (ONLY=a,b)
	@$(PY) -m deploy deploy-fleet $(REACH) --bundle=$(or $(call q,BUNDLE),$(NEWEST)) $(call option,--batch,BATCH)

rollback-fleet: ## Take every host back to its release before
	@$(PY) -m deploy rollback-fleet $(REACH)

drain: ## Let the balancers send HOST= no requests
	@$(PY) -m deploy drain-fleet $(REACH) $(call q,HOST)

undrain: ## Send HOST= requests again
	@$(PY) -m deploy undrain-fleet $(REACH) $(call q,HOST)

render: ## Write every host's files, and those for Prometheus and Grafana, into ./build
	@$(PY) -m deploy render $(INVENTORY) --out=build

config-check: ## Let nginx, supervisor, systemd and the service read them
	@$(PY) -m deploy config-check $(INVENTORY) --out=build

diff: ## Show what would change in the files this host runs with
	@$(PY) -m deploy diff $(INVENTORY)

##@ Use and measure it: the fleet that runs here, unless URL= or PORT= names another (CACERT=file for https)
detect: ## Send VIDEO=path to URL and save the annotated clip as ./var/detect.mp4
	@$(PY) -m framefleet.client $(AT) --save=$(call q,VAR)/detect.mp4 -- $(call q,VIDEO)

replay: ## Replay VIDEO as CAMERAS=4 at FPS=5 for SECONDS=30 against URL; report in ./var/report
	@$(REPLAY)

scenario: ## Make one scenario against URL: SCENARIO=cameras (server offline single soak overload chaos deploy), ARGS=...
	@$(PY) -m loadtest scenario $(call q,SCENARIO) $(AT) --video=$(call q,VIDEO) --out=$(call q,VAR)/scenario $(call several,ARGS)

load-ui: ## Open Locust's web page for URL on http://127.0.0.1:8089
	@$(PY) -m loadtest ui $(AT) --video=$(call q,VIDEO) --out=$(call q,VAR)/locust

capacity: ## Find what URL holds within SLO_MS=100: capacity.json and a page in ./var/capacity (BASELINE=file, ARGS=...)
	@$(PY) -m loadtest capacity $(AT) --video=$(call q,VIDEO) --slo-ms=$(call q,SLO_MS) --out=$(call q,VAR)/capacity \
		$(call option,--baseline,BASELINE) $(call several,ARGS)

tune: ## Find how many INSTANCES=, on which CPUS=, answer most here (MODEL=path VIDEO=path; 5 minutes on 2 cores)
	@$(PY) -m bench.tune --video=$(call q,VIDEO) $(call option,--model,MODEL) \
		--var=$(call q,VAR) $(call several,ARGS)

plan: ## Hosts and GPUs for STREAMS=100 cameras at FPS=5 (P95_MS=, CAPACITY="files", ARGS="--batch-ms ... ")
	@$(PY) -m loadtest plan $(PLAN)

simulate: ## The same plan, tried in a simulation with a host that fails
	@$(PY) -m loadtest simulate $(PLAN)

##@ Work on it
dev: ## Install what tests and linters need too; the targets that need it call this by themselves
	@tools/setup.sh --dev $(call option,--python,PYTHON)

test: ## Run the tests: unit, integration and end to end (14 minutes); TESTS="paths" runs those alone, slow ones too
	@$(PY) -m pytest $(or $(call several,TESTS),-m "not slow")

test-slow: ## Run those that take longest: the pages in Chromium, fuzzing, scenarios, chaos (another 18)
	@$(PY) -m pytest -m slow

test-hosts: ## Boot Debian machines with systemd and deploy on them (root, debootstrap, systemd-container; 20 minutes)
	@$(PY) -m pytest $(call several,HOSTS) -m hosts

check-trt: ## Parse and build serving graphs with TensorRT-RTX, which needs no GPU (after `make torch`)
	@$(PY) -m bench.check_trt

test-gpu: ## Run the tests that need an NVIDIA GPU
	@$(PY) -m pytest tests/gpu -m gpu

bench-gpu: ## Measure the engines on this GPU, bare and through the service
	@$(PY) -m bench.gpu

bench-guard: ## Hold CPU time per request against the kept ratios (1 minute); ARGS=--update keeps those of now
	@$(PY) -m bench.guard $(call several,ARGS)

bench-link: ## Measure pixels to boxes over 1 Gbit/s and 100 Mbit/s, each way to send them (5 minutes; needs root)
	@$(PY) -m bench.link $(call several,ARGS)

bench: ## Measure the guard, encodings, scaled decoding and overload (15 minutes; nothing else should run)
	@$(PY) -m bench.guard && $(PY) -m bench.encoding_boxes && $(PY) -m bench.jpeg_scaling && $(PY) -m bench.overload

bench-peers: ## Measure it beside its peers, for docs/benchmarks.md (half an hour; a trial: ROUNDS=1 TURN_S=1 ARGS=...)
	@$(PY) -m bench.peers --var=$(call q,VAR) $(call option,--rounds,ROUNDS) $(call option,--seconds,TURN_S) $(call several,ARGS)

scaling: ## Predict 4 simulated instances from 1 and 2, and measure them (25 minutes; nothing else should run)
	@$(PY) -m bench.scaling --out=$(call q,VAR)/scaling

chaos: ## Provoke every fault under load, then MINUTES=10 of random ones, on two models; docs/reliability.md (1 hour; needs root)
	@$(PY) -m chaos $(call option,--minutes,MINUTES) $(call several,ARGS)

siege: ## Attack a fleet for MINUTES=15 beside cameras, and kill parts of it; the last section of docs/reliability.md
	@$(PY) -m chaos.siege $(call option,--minutes,MINUTES) $(call several,ARGS)

lint: ## Check style, types, and which package may import which
	@$(PY) -m ruff check --no-cache . && $(PY) -m ruff format --no-cache --check . && $(PY) -m mypy && \
		$(PY) -c 'from importlinter.cli import lint_imports_command; lint_imports_command()' --no-cache

format: ## Rewrite the code in the house format
	@$(PY) -m ruff check --no-cache --fix . ; $(PY) -m ruff format --no-cache .

lock: ## Resolve the locked dependencies anew, after a change in pyproject.toml
	@$(LOCK) --extra load --extra fleet --extra dev -o lock/dev.txt
	@$(LOCK) -c lock/dev.txt -o lock/service.txt && $(LOCK) -c lock/dev.txt --extra load -o lock/checkout.txt

audit: ## Ask PyPI which locked packages have known vulnerabilities
	@tools/audit.sh

clean: ## Remove what was built: ./build and caches; ./var and .venv stay
	@rm -rf build .pytest_cache .mypy_cache .ruff_cache .hypothesis
