# make run and make test do everything on a fresh Debian or Ubuntu machine; make help lists the rest.
BOARD ?= virt
SITE ?=
CONFIG ?=
DEV ?=
ARGS ?=
ONESHOT ?=
PYTHON ?= python3

PACKAGES := python3 python3-venv qemu-system-arm qemu-efi-aarch64 mtools dosfstools zstd \
	binutils-aarch64-linux-gnu debian-archive-keyring debootstrap qemu-user shellcheck mosquitto strace iproute2
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
PY := .venv/bin/python
# A mistake in a site's settings is cheaper to find here than on a board somewhere.
CHECK_SITE := $(if $(SITE),.venv/bin/ronctl config check --profile generic $(SITE) &&)
IMAGE := $(CHECK_SITE) $(PY) -m image build --board $(BOARD) $(if $(SITE),--site $(SITE))

.DEFAULT_GOAL := help
.PHONY: help setup run serve test image flash qemu prove bench soak lock fmt lint clean

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 10

setup: .venv/ready ## install what is missing, once

.venv/packages: Makefile
	@command -v dpkg >/dev/null || { echo "error: no dpkg here, expected Debian or Ubuntu" >&2; exit 2; }
	@missing="$$(for p in $(PACKAGES); do dpkg -s $$p >/dev/null 2>&1 || printf ' %s' $$p; done)"; [ -z "$$missing" ] || \
		{ echo "installing$$missing"; $(SUDO) apt-get -qq update && $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $$missing >/dev/null; }
	@mkdir -p .venv && touch $@

.venv/ready: .venv/packages pyproject.toml tests/dev.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: Python %d.%d, expected 3.11 or newer: make PYTHON=python3.12" % sys.version_info[:2])'
	@echo "setting up .venv"; $(PYTHON) -m venv .venv && $(PY) -m pip install -q --disable-pip-version-check --require-hashes -r tests/dev.lock
	@$(PY) -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e . && touch $@

run: setup ## build the image if needed, boot it, store and fetch a file (ONESHOT=1: then end)
	@$(IMAGE)
	@$(PY) -m qemu run --board $(BOARD) $(if $(ONESHOT),--oneshot)

serve: setup ## one edge on loopback, natively, without any configuration (CONFIG=my.toml)
	@.venv/bin/overlay-edge $(if $(CONFIG),--config $(CONFIG)) $(ARGS)

test: lint ## lint, types, architecture, unit, property, image and boot tests (ARGS="-k frame")
	@$(PY) -X dev -m pytest $(ARGS)

image: setup ## flashable image and its manifest in build/ (BOARD=virt SITE=my.toml)
	@$(IMAGE) $(ARGS)

flash: setup ## write the image to a card (DEV=/dev/sdX), after a check and a question
	@test -n "$(DEV)" || { echo "error: make flash DEV=/dev/sdX" >&2; lsblk -d -o NAME,SIZE,MODEL,TRAN,RM >&2; exit 2; }
	@$(IMAGE)
	@$(SUDO) $(PY) -m image flash --dev $(DEV) --image build/overlay-edge-$(BOARD).img $(ARGS)

qemu: setup ## boot the image and run its self-test: one exit code
	@$(IMAGE)
	@$(PY) -m qemu test --board $(BOARD) $(ARGS)

bench: setup ## cold start, memory per connection, cost of wiping: figures and ratios, no verdicts
	@$(PY) tests/bench/cold_start.py $(ARGS)
	@$(PY) tests/bench/idle_connections.py $(ARGS)
	@$(PY) tests/bench/wiping.py $(ARGS)

prove: setup ## plant secrets in a board, end it in every way, look for them in all memory: 15 minutes
	@$(IMAGE)
	@$(PY) -m tests.prove $(ARGS)

soak: setup ## a crowd, hostile peers, churn, overload, fuzzing: minutes, one report (ARGS=--quick)
	@$(PY) -m tests.soak $(ARGS)

lock: setup ## renew image/debs.lock and image/wheels.lock from what the archives have now
	@$(PY) -m image lock $(ARGS)

fmt: setup ## rewrite into the one format
	@.venv/bin/ruff format -q . && .venv/bin/ruff check -q --fix .

lint: setup ## format, lint, types and import rules; changes nothing
	@.venv/bin/ruff format -q --check . && .venv/bin/ruff check -q .
	@.venv/bin/mypy --no-error-summary
	@.venv/bin/lint-imports --no-cache >.venv/imports.txt 2>&1 || { cat .venv/imports.txt; exit 1; }

clean: ## remove what make made
	@rm -rf .venv build .hypothesis .mypy_cache .ruff_cache .pytest_cache overlay_edge.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
