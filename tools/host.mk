# The menu of a host: `make deploy` in an unpacked bundle, everything else in /opt/framefleet/current too.

# As in the Makefile of the checkout: only make's command line counts, and a value is taken as it stands there.
GIVEN := FLEET HOST INSTALL PYTHON
define NEWLINE


endef
taken = $(if $(and $(filter command,$(firstword $(origin $1))),$(value $1)),override $1 := $$(value $1),override undefine $1)
$(foreach name,$(GIVEN),$(eval $(call taken,$(name))))
$(foreach name,$(GIVEN),$(if $(findstring $(NEWLINE),$($(name))),$(error $(name)= has a line break; leave it out)))

# A value for the shell, which neither splits it nor runs anything in it; nothing where none was given.
q = $(if $($1),'$(subst ','\'',$($1))')
# --name='value', where one was given.
option = $(if $($2),$1=$(call q,$2))

INSTALL ?= /opt/framefleet
FRAMEFLEET = $(call q,INSTALL)/current/bin/framefleet
MENU = $(strip $(MAKEFILE_LIST))

.DEFAULT_GOAL := help
.PHONY: help deploy status logs smoke rollback undeploy drain undrain
.NOTPARALLEL:
unexport $(GIVEN) MAKEFLAGS BASH_ENV ENV CDPATH $(filter PYTHON%,$(.VARIABLES))

help: ## Print this menu
	@awk 'BEGIN {FS = ":.*## "} /^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(call q,MENU)

deploy: ## Make this bundle's release serve (FLEET=fleet.toml HOST=name: default, what this host has)
	@INSTALL=$(call q,INSTALL) PYTHON=$(call q,PYTHON) ./deploy.sh $(call option,--fleet,FLEET) $(call option,--host,HOST)

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
	@$(FRAMEFLEET) drain $(call q,HOST)

undrain: ## Send HOST=name requests again
	@$(FRAMEFLEET) undrain $(call q,HOST)
