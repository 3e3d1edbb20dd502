# Nubelet: `make demo` boots a first virtual machine, `make test` runs everything. See `make help`.
#
# Each step leaves a stamp, so that a second run only does what changed. Debian packages are looked
# at on every run (a tenth of a second), because others may remove them.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV   ?= .venv
export PYTHON VENV

PY     := $(VENV)/bin/python
STEP   := install/step
STAMPS := $(VENV)/.stamps

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help demo test check check-lint check-format check-types check-imports bench fuzz conformance install install-test install-conformance \
        debian-demo debian-test guest-image format docs lock clean

help: ## List what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

demo: install guest-image ## Install what is missing, start a cloud, boot a first virtual machine
	@$(PY) -m nubelet demo $(ARGS)

test: install-test guest-image install-conformance ## Install, then run the whole test suite
	@.ci/stages $(STAGES)

check: check-lint check-format check-types check-imports ## Lint, formatting, types, import contracts

check-lint: $(STAMPS)/test
	@$(STEP) "ruff check" $(VENV)/bin/ruff check --output-format concise .
check-format: $(STAMPS)/test
	@$(STEP) "ruff format --check" $(VENV)/bin/ruff format --check .
check-types: $(STAMPS)/test
	@$(STEP) "mypy --strict" $(VENV)/bin/mypy --strict
check-imports: $(STAMPS)/test
	@$(STEP) "import contracts" $(VENV)/bin/lint-imports --no-cache

bench: install-test guest-image ## Measure what is promised and print it beside the promise
	@$(PY) -m benchmarks $(ARGS)

fuzz: install-test ## Ask identity and image 20,000 odd questions each (ARGS="network --requests 5000 --seed 7")
	@$(PY) -m tests.fuzzing $(ARGS)

conformance: install-test guest-image install-conformance ## Run Tempest, write docs/reference/conformance.md
	@$(PY) -m tests.conformance.run --report docs/reference/conformance.md $(ARGS)

format: $(STAMPS)/test ## Format the code and mend what ruff can mend
	@$(VENV)/bin/ruff check --fix-only -q . ; $(VENV)/bin/ruff format .

docs: $(STAMPS)/test ## Make the reference pages from the code
	@$(PY) -m nubelet.cli.reference docs/reference

lock: $(STAMPS)/test ## Make the lock files from pyproject.toml
	@install/lock $(ARGS)

clean: ## Remove the virtual environment and everything built (not clouds: nubelet down --purge)
	@rm -rf $(VENV) .make build dist

# --- installation -----------------------------------------------------------------------------

install: debian-demo $(STAMPS)/demo $(STAMPS)/libvirt
install-test: debian-test $(STAMPS)/demo $(STAMPS)/libvirt $(STAMPS)/test
install-conformance: $(STAMPS)/conformance

debian-demo:
	@$(STEP) "Debian packages" install/debian demo
	@install/libvirt-user
	@install/kernel-modules

debian-test:
	@$(STEP) "Debian packages" install/debian test
	@install/libvirt-user
	@install/kernel-modules

$(STAMPS)/demo: requirements.lock pyproject.toml
	@$(STEP) "Python packages" install/venv demo
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/libvirt: requirements-libvirt.lock $(STAMPS)/demo
	@$(STEP) "Python binding of libvirt" install/venv libvirt
	@touch $@

$(STAMPS)/test: requirements-dev.lock $(STAMPS)/demo
	@$(STEP) "Python packages for tests" install/venv test
	@touch $@

$(STAMPS)/conformance: requirements-conformance.lock $(STAMPS)/test
	@$(STEP) "Tempest" install/venv conformance
	@touch $@

# The builder itself looks whether the image is current.
guest-image: $(STAMPS)/demo
	@$(STEP) "Guest image" $(PY) -m nubelet.guest.build
