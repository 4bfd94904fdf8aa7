# Each target does all of its own set-up. `make` alone lists them.
PY := .venv/bin/python
READY := .venv/.ready
TWO := -n 2 --dist loadfile
QUIET := OMP_NUM_THREADS=1
NETWORK := studio-data/models/u2netp/u2netp.onnx

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

demo: $(READY) $(NETWORK) ## inpaint a scratch into a photo, in the terminal: no token, GPU or model hub
	$(PY) -m bot demo

test: $(READY) $(NETWORK) ## the tests, on two cores
	$(QUIET) $(PY) -m pytest -q $(TWO)

test-all: $(READY) $(NETWORK) ## the tests, long ones included
	$(QUIET) $(PY) -m pytest -q -m '' $(TWO)

bench: $(READY) ## the benchmarks; results in benchmarks/results
	$(PY) -m benchmarks

lint: $(READY) ## ruff and mypy
	.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/mypy

check: lint test ## both, as a CI would

lock: ## resolve the pinned requirements anew
	.venv/bin/uv pip compile -q pyproject.toml requirements/extra.txt --extra dev --override requirements/overrides.txt \
	  --python-version 3.11 --generate-hashes --no-annotate --no-header --no-emit-index-url -o requirements/lock.txt

docs: $(READY) ## draw the tables and the tree in the READMEs anew
	$(PY) -m docs.generate

$(NETWORK): | $(READY) # without it /removebg is left out of the demo, and its tests are skipped
	-$(PY) -m bot models fetch u2netp

setup: $(READY) ## only the virtual environment

$(READY): requirements/lock.txt requirements/uv.txt pyproject.toml
	test -x $(PY) || python3 -m venv .venv
	$(PY) -m pip install -q --disable-pip-version-check --require-hashes -r requirements/uv.txt
	.venv/bin/uv pip install -q --python $(PY) --no-deps --require-hashes -r requirements/lock.txt
	.venv/bin/uv pip install -q --python $(PY) --no-deps --no-build-isolation -e .
	touch $@

.PHONY: help demo test test-all bench lint check lock docs setup
