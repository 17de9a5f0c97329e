# The menu of a host: `make deploy` in an unpacked bundle, everything else in /opt/framefleet/current too.
INSTALL ?= /opt/framefleet
FLEET ?=
HOST ?=
export INSTALL

FRAMEFLEET = $(INSTALL)/current/bin/framefleet

.DEFAULT_GOAL := help
.PHONY: help deploy status logs smoke rollback undeploy drain undrain
help: ## Print this menu
	@awk 'BEGIN {FS = ":.*## "} /^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

deploy: ## Make this bundle's release serve (FLEET=fleet.toml HOST=name: default, what this host has)
	@./deploy.sh $(if $(FLEET),--fleet $(FLEET)) $(if $(HOST),--host $(HOST))

status: ## Show every program: GPU, release, state, restarts, rate, p95
	@$(FRAMEFLEET) status

logs: ## Follow all logs (Ctrl-C to leave)
	@$(FRAMEFLEET) logs

smoke: ## Check every instance and the balancer with the release's picture
	@$(FRAMEFLEET) smoke

rollback: ## Go back to the release and configuration before
	@$(FRAMEFLEET) rollback

undeploy: ## Stop and remove everything but the logs
	@$(FRAMEFLEET) undeploy

drain: ## Send HOST=name no more requests
	@$(FRAMEFLEET) drain $(HOST)

undrain: ## Send HOST=name requests again
	@$(FRAMEFLEET) undrain $(HOST)
