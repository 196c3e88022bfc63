# Sets up a virtual environment and runs things in it; `make help` lists what.
#
# In a sourced ROS 2 its rclpy and messages are used; elsewhere they come as wheels.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help venv demo test quick test-kilted test-lerobot test-distributions faults lint parameters reference \
	safety site release demo-assets clean system-libraries browser

VENV ?= .venv
BIN := $(VENV)/bin

# First and exactly: whatever else asks for torch then keeps to this one.
TORCH ?= torch==2.13.0
ROS_WHEELS ?= ros-jazzy-rclpy[fastrtps] ros-jazzy-rmw-fastrtps-cpp \
	ros-jazzy-diagnostic-msgs ros-jazzy-geometry-msgs ros-jazzy-lifecycle-msgs \
	ros-jazzy-sensor-msgs ros-jazzy-std-msgs ros-jazzy-std-srvs ros-jazzy-trajectory-msgs \
	ros-jazzy-visualization-msgs

# The first of these that is Python 3.10, 3.11 or 3.12. A sourced ROS is for its python3.
PYTHONS := python3 python3.12 python3.11 python3.10
SUPPORTED := import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))
PYTHON ?= $(firstword $(foreach python,$(PYTHONS),\
	$(shell $(python) -c '$(SUPPORTED)' 2>/dev/null && echo $(python))))

SOURCED := $(if $(ROS_DISTRO),$(shell python3 -c 'import rclpy' 2>/dev/null && echo yes))
FLAVOUR := $(if $(SOURCED),$(ROS_DISTRO),wheels)
STAMP := $(VENV)/.set-up-for-$(FLAVOUR)
OTHER_STAMPS = $(filter-out $(STAMP),$(wildcard $(VENV)/.set-up-for-*))

# The test plug-ins of a sourced ROS 2 are not made for the pytest of the environment.
PYTEST_OPTIONS := $(if $(SOURCED),-p no:launch -p no:launch_pytest -p no:launch_ros)

# Each process has a ROS domain of its own. A file stays in one process, which makes what the tests
# of a file share once; those that take longest come first, so that none is left at the end.
PROCESSES ?= 2
IN_PROCESSES = --numprocesses $(PROCESSES) --dist loadfile --no-loadscope-reorder

QUICK := not ros and not slow

AS_ROOT = $(if $(filter 0,$(shell id -u)),,sudo -n)
APT_GET = $(AS_ROOT) env DEBIAN_FRONTEND=noninteractive apt-get -qq

help: ## show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

venv: $(STAMP) ## set up .venv, with all that the other targets need

demo: $(STAMP) system-libraries ## calibrate, then watch a simulated robot fail and be stopped
	@ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST $(BIN)/failure-monitor demo $(ARGS)

test: $(STAMP) system-libraries browser ## run all tests
	@ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST $(BIN)/python -m pytest $(PYTEST_OPTIONS) \
		$(IN_PROCESSES) $(ARGS)

quick: $(STAMP) system-libraries ## run the tests that need neither ROS nor minutes
	@$(BIN)/python -m pytest $(PYTEST_OPTIONS) $(IN_PROCESSES) -m "$(QUICK)" $(ARGS)

faults: $(STAMP) ## break everything that can break, and print what came of it
	@ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST $(BIN)/python -m pytest $(PYTEST_OPTIONS) --quiet \
		--disable-warnings test/faults $(ARGS)

# The usual environment, but for the wheels of another ROS 2. One of the few files takes as long as
# all others, so files are split.
KILTED := .venv-kilted
NODE_TESTS = $(patsubst %,test/ros/%.py,monitor/test_node monitor/test_bad_input \
	monitor/test_clock monitor/test_parameters gate/test_node test_tap)
test-kilted: $(KILTED)/.set-up ## run the tests of the nodes on ROS 2 Kilted
	@ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST $(KILTED)/bin/python -m pytest \
		--numprocesses $(PROCESSES) --dist worksteal -m ros $(NODE_TESTS) $(ARGS)

# The usual environment, and LeRobot beside it with what it imports: without its own bounds, which
# ask for older versions of torch and numpy. The wheels of ROS find their libraries in their own
# environment alone.
LEROBOT := .venv-lerobot
LEROBOT_PACKAGES := lerobot==0.4.4 torchvision==0.28.0 openpi-client==0.1.2
LEROBOT_NEEDS := 'diffusers<0.36' 'huggingface-hub<0.36' 'einops<0.9' 'draccus==0.10.0' \
	'gymnasium<2' 'datasets<5' 'av<16' 'deepdiff<9' 'packaging<26' 'transformers<5' 'numpy>=2' \
	accelerate dm-tree grpcio imageio jsonlines msgpack num2words protobuf pyarrow pyserial \
	safetensors termcolor websockets
test-lerobot: $(LEROBOT)/.set-up ## run the tests that need LeRobot and openpi's client
	@ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST $(LEROBOT)/bin/python -m pytest \
		$(IN_PROCESSES) -m lerobot test/policies test/ros/test_lerobot_tap.py test/sources \
		test/examples test/project/test_tutorials.py $(ARGS)

# Sphinx asks for an older docutils than the usual environment may have, so it lies beside it.
SITE := .venv-site
site: $(SITE)/.set-up ## build the site of docs/ into build/site; a warning is an error
	@PYTHONPATH=$(CURDIR) $(SITE)/bin/python -m sphinx -W --keep-going --quiet -E -b html docs build/site
	@echo "build/site/index.html"

# From a clean copy of the commit: what lies about here gets into no package. As in .ci/run, what is
# broken fails three times.
RELEASE := .venv-release
release: $(RELEASE)/.set-up ## check all that a release needs, build it into dist/, and tag it; nothing is uploaded
	@.ci/release.py check
	@PYTEST_ADDOPTS="--reruns 2 --reruns-delay 2" $(MAKE) lint test site
	@copy=$$(mktemp -d); trap 'rm -rf "$$copy"' EXIT; git archive HEAD | tar x -C "$$copy"; \
		rm -rf dist; $(RELEASE)/bin/python -m build --outdir dist "$$copy" >/dev/null
	@$(RELEASE)/bin/twine check --strict dist/*
	@.ci/release.py tag

# The versions that Ubuntu and Debian ship; the wheels of ROS run on all of their Pythons.
test-distributions: $(STAMP) ## run what is installed with the packages of Ubuntu 22.04, 24.04, Debian 12, PyPI
	@PYTHON=$(BIN)/python ROS_WHEELS='$(ROS_WHEELS)' ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST \
		.ci/distributions/run $(ARGS)

lint: $(STAMP) ## check format, style, types and the import walls
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check --quiet
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports --no-logo

parameters: $(STAMP) ## write the parameter files and their reference from the dataclasses
	@$(BIN)/python -m failure_monitor.parameters.write_files

reference: parameters ## write the pages that are made from the code
	@$(BIN)/python -m failure_monitor.cli.reference_page
	@$(BIN)/python docs/make_command_reasons.py
	@$(BIN)/python docs/make_python_reference.py

safety: $(STAMP) ## write into docs/safety.md which tests hold which requirement
	@PYTHONPATH=test $(BIN)/python -m testbed.safety_table

demo-assets: $(STAMP) system-libraries ## train the demo's policies and record its bags again
	@$(BIN)/python -m failure_monitor.demo.make_assets $(ARGS)

clean: ## remove everything that was made here, .venv too
	rm -rf build install log dist demo_output *.egg-info $(VENV) $(KILTED) $(LEROBOT) $(SITE) $(RELEASE) .venv-distributions
	rm -rf docs/repository .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

# An environment that was set up for another ROS is not built upon.
$(STAMP): setup.py Makefile
	@if [ -z "$(PYTHON)" ]; then \
		echo "make: Python 3.10, 3.11 or 3.12 is needed, found $$(python3 --version 2>&1):" \
			"install one, or name it: make $(MAKECMDGOALS) PYTHON=/path/to/python3.12" >&2; \
		exit 1; \
	fi
	@if ! $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null; then \
		version=$$($(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
		$(call install_packages,python$$version-venv); \
	fi
	@echo "setting up $(VENV) ($(FLAVOUR)): takes minutes the first time"
	@$(PYTHON) -m venv $(if $(OTHER_STAMPS),--clear) $(if $(SOURCED),--system-site-packages) $(VENV)
	@$(BIN)/pip install --quiet --upgrade 'pip>=24'  # older ones lose themselves on Python 3.10
	@$(BIN)/pip install --quiet 'setuptools<80' wheel '$(TORCH)'
	@$(BIN)/pip install --quiet --editable '.[test]' $(if $(SOURCED),,$(ROS_WHEELS))
	@touch $@

PURELIB := import sysconfig; print(sysconfig.get_path("purelib"))
$(KILTED)/.set-up: $(STAMP)
	@echo "setting up $(KILTED)"
	@$(BIN)/python -m venv --clear $(KILTED)
	@$(KILTED)/bin/pip install --quiet $(subst jazzy,kilted,$(ROS_WHEELS))
	@{ $(BIN)/python -c '$(PURELIB)'; echo '$(CURDIR)'; } \
		> "$$($(KILTED)/bin/python -c '$(PURELIB)')/shared.pth"
	@touch $@

# What the usual environment has is not installed again, such as torch.
$(LEROBOT)/.set-up: $(STAMP)
	@echo "setting up $(LEROBOT)"
	@$(BIN)/python -m venv --clear $(LEROBOT)
	@$(if $(SOURCED),,$(LEROBOT)/bin/pip install --quiet $(ROS_WHEELS))
	@{ $(BIN)/python -c '$(PURELIB)'; echo '$(CURDIR)'; } \
		> "$$($(LEROBOT)/bin/python -c '$(PURELIB)')/shared.pth"
	@$(LEROBOT)/bin/pip install --quiet $(LEROBOT_NEEDS)
	@$(LEROBOT)/bin/pip install --quiet --no-deps $(LEROBOT_PACKAGES)
	@touch $@

$(SITE)/.set-up: $(STAMP)
	@echo "setting up $(SITE)"
	@$(BIN)/python -m venv --clear $(SITE)
	@{ $(BIN)/python -c '$(PURELIB)'; echo '$(CURDIR)'; } \
		> "$$($(SITE)/bin/python -c '$(PURELIB)')/shared.pth"
	@$(SITE)/bin/pip install --quiet --editable '.[docs]'
	@touch $@

$(RELEASE)/.set-up: $(STAMP)
	@echo "setting up $(RELEASE)"
	@$(BIN)/python -m venv --clear $(RELEASE)
	@$(RELEASE)/bin/pip install --quiet build twine
	@touch $@

# What MuJoCo needs to render without a screen.
system-libraries:
	@if ! $(PYTHON) -c 'from ctypes.util import find_library as find; import sys; \
			sys.exit(not (find("OSMesa") and find("EGL")))'; then \
		$(call install_packages,libosmesa6 libegl1); \
	fi

# What looks at reports. Its tests are skipped without: it is large, and not to be had everywhere.
browser:
	@if ! command -v chromium chromium-browser google-chrome >/dev/null; then \
		( $(call install_packages,chromium) ) || \
			echo "make: without a browser, tests that look at reports in one are skipped" >&2; \
	fi

# Installs Debian packages where that is possible without asking, else says what to do.
define install_packages
	if command -v apt-get >/dev/null && { [ -z "$(AS_ROOT)" ] || $(AS_ROOT) true; } 2>/dev/null; then \
		echo "installing $(1)"; \
		$(APT_GET) update && $(APT_GET) install --yes --no-install-recommends $(1) >/dev/null; \
	else \
		echo "make: system packages are missing; install them as on Debian and Ubuntu with" \
			"'sudo apt-get install $(1)', then run make again" >&2; \
		exit 1; \
	fi
endef
