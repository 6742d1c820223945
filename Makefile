# The commands of the project; `make help` lists them.
PYTHON ?= python3.11
PORT ?= 8000
JINGWEI_HOME ?= ./var
export PORT JINGWEI_HOME

PIP := .venv/bin/python -m pip --disable-pip-version-check -qq
RUNTIME := .venv/.runtime
DEV := .venv/.dev

.PHONY: help run test lint format trace security audit bench drill lock vendor screenshots

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(RUNTIME)  ## start everything and keep it running (PORT=8000, JINGWEI_HOME=./var, DEMO=0: no people)
	@exec .venv/bin/jingwei up

test: $(DEV) .venv/audit/.done  ## run the tests (ARGS="-k name" chooses)
	@command -v chromium >/dev/null || tools/install.sh chromium
	@command -v mariadbd >/dev/null || tools/install.sh mariadb-server
	@command -v nginx >/dev/null || tools/install.sh nginx-light
	@command -v systemd-analyze >/dev/null || tools/install.sh systemd
	@fc-list :lang=zh 2>/dev/null | grep -q . || tools/install.sh fontconfig fonts-wqy-zenhei
	@.venv/bin/python -m pytest -n 2 --dist loadgroup $(ARGS)

lint: $(DEV)  ## check style and form
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .

format: $(DEV)  ## bring the code into the form that lint checks
	@.venv/bin/ruff format .
	@.venv/bin/ruff check --fix .

trace:  ## list the requirements with and without a test (ARGS=CL-2.1: every test of it)
	@$(PYTHON) tools/requirements.py $(ARGS)

security:  ## fill docs/security.md: each statement with its tests and its place in the code
	@$(PYTHON) tools/security.py

audit: $(DEV) .venv/audit/.done  ## let tools from outside look for weaknesses (ARGS=packages, code or site; ADVISORIES=all.zip)
	@.venv/bin/python tools/audit.py $(ARGS)

bench: $(DEV)  ## measure the performance figures of the spec, each beside its reference
	@.venv/bin/python -m bench $(ARGS)

drill: $(DEV)  ## kill, cut off and fill the parts of an instance at work; what is lost, how soon it is back
	@.venv/bin/python -m bench drill

lock: $(DEV)  ## write the lock files anew from pyproject.toml
	@.venv/bin/pip-compile --output-file requirements.lock pyproject.toml
	@.venv/bin/pip-compile --extra dev --constraint requirements.lock --output-file requirements-dev.lock pyproject.toml
	@.venv/bin/pip-compile --no-config --quiet --generate-hashes --allow-unsafe --strip-extras --no-header \
		--no-emit-index-url --no-emit-find-links --no-emit-options --output-file tools/audit.lock tools/audit.in

vendor: $(RUNTIME)  ## fetch the vendored browser files anew from npm
	@.venv/bin/python tools/vendor.py

screenshots: $(DEV)  ## make the pictures of the README
	@.venv/bin/python tools/screenshots.py

.venv/bin/python:
	@command -v $(PYTHON) >/dev/null || tools/install.sh python3.11
	@$(PYTHON) -c "import ensurepip" 2>/dev/null || tools/install.sh python3.11-venv
	@$(PYTHON) -m venv .venv

$(RUNTIME): requirements.lock pyproject.toml | .venv/bin/python
	@echo "正在安装运行所需的软件包……"
	@$(PIP) install --require-hashes -r requirements.lock
	@$(PIP) install --no-deps --no-index --no-build-isolation -e .
	@touch $@

.venv/audit/.done: tools/audit.lock | .venv/bin/python
	@echo "正在安装安全检查工具……"
	@$(PYTHON) -m venv .venv/audit
	@.venv/audit/bin/python -m pip --disable-pip-version-check -qq install --require-hashes -r tools/audit.lock
	@touch $@

$(DEV): requirements-dev.lock $(RUNTIME)
	@echo "正在安装测试所需的软件包……"
	@$(PIP) install --require-hashes -r requirements-dev.lock
	@touch $@
