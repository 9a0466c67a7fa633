# A newcomer needs only `make repro` and `make test`: both make the environment first.
PYTHON ?= python3
VENV := .venv
READY := $(VENV)/.ready
EXTRAS := $(VENV)/.heic $(VENV)/.onnx $(VENV)/.postgres
UV := VIRTUAL_ENV=$(VENV) $(VENV)/bin/uv pip
RUN := . $(VENV)/bin/activate &&

.PHONY: help repro test lint audit env lock

help:  ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/\1\t\2/p' Makefile

repro: $(READY)  ## set up, run the pipeline, say what came out; RECIPE=mnist runs that recipe
	@$(RUN) { [ -z "$(RECIPE)" ] || python -m src.recipe "$(RECIPE)"; } && python -m src.params
	@$(RUN) { git rev-parse -q --git-dir >/dev/null 2>&1 || export DVC_SYSTEM_CONFIG_DIR="$(CURDIR)/.dvc/no-git"; } && dvc repro && python -m src.summary

test: $(EXTRAS)  ## set up with all extras, run every test; the last lines say what was skipped, and why
	@$(RUN) python -m pytest -n auto --dist loadfile --no-loadscope-reorder

lint: $(EXTRAS)  ## check style and types
	@$(RUN) ruff check . && ruff format --check . && mypy -n auto

audit: $(READY)  ## look up known vulnerabilities of the locked packages, if the database can be reached
	@$(RUN) python .ci/audit.py

env: $(READY) $(EXTRA:%=$(VENV)/.%)  ## only set up; EXTRA=heic: for photos of iPhones; EXTRA=onnx: for src.export; EXTRA=postgres: for searches there

# uv installs everything, and is itself in the lock: pip installs it first, from its own lines, with their hashes. Compiling
# takes half a minute once, and halves the time of imports, which are most of a small run. Nothing is installed if only the
# lock's date is newer, since syncing removes the extras. With `root.pth`, `python -m src.…` in a subfolder finds the code,
# which says where the root is.
$(READY): requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15) and "Python 3.11 to 3.14 is needed: make PYTHON=/path/to/python3.11")'
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	@cmp -s requirements.lock $(VENV)/requirements.lock || { \
		sed -n '/^uv==/,/[^\\]$$/p' requirements.lock > $(VENV)/uv.lock && \
		$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(VENV)/uv.lock && \
		$(UV) sync --quiet --require-hashes --compile-bytecode requirements.lock && \
		echo '$(CURDIR)' > "$$($(VENV)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/root.pth" && \
		cp requirements.lock $(VENV); }
	@touch $@

# Extras are installed beside it. A package that both locks name has the same version in both.
$(EXTRAS): $(VENV)/.%: requirements-%.lock $(READY)
	@$(UV) install --quiet --require-hashes --compile-bytecode -r $<
	@touch $@

COMPILE := uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-annotate --python-version 3.11 --upgrade

lock:  ## resolve pyproject.toml again
	@$(RUN) $(COMPILE) pyproject.toml --group dev --output-file requirements.lock
	@$(RUN) for extra in report $(EXTRAS:$(VENV)/.%=%); do \
		$(COMPILE) --group $$extra -c requirements.lock --output-file requirements-$$extra.lock; done
