# Two commands matter: `make up` and `make test`. Each does all of its own set-up.
VENV := .venv
PY := $(VENV)/bin/python
ARGS ?=

.PHONY: up test check bench ledger audit lock clean

up: $(VENV)/.run
	@$(PY) -m deploy up $(ARGS)

test: $(VENV)/.test
	@$(PY) -m tests $(ARGS)

check: $(VENV)/.test
	@$(PY) -m tests --check-only

ledger: $(VENV)/.test
	@$(PY) -m benchmarks ledger $(ARGS)

bench: $(VENV)/.test
	@$(PY) -m benchmarks $(NAME) $(ARGS)

# The environment is laid anew whenever the pinned requirements change.
$(VENV)/bin/python:
	@sh deploy/venv.sh $(VENV)

$(VENV)/.run: $(VENV)/bin/python requirements/run.txt pyproject.toml
	@echo "towntwin: installing what 'make up' needs"
	@$(PY) -m pip install --quiet --require-hashes -r requirements/run.txt
	@$(PY) -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.test: $(VENV)/.run requirements/test.txt
	@echo "towntwin: installing what 'make test' needs"
	@$(PY) -m pip install --quiet --require-hashes -r requirements/test.txt
	@touch $@

audit: $(VENV)/.test
	@$(PY) -m tests.audit $(ARGS)

lock:
	uv pip compile --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate --universal --python-version 3.11 requirements/run.in -o requirements/run.txt
	uv pip compile --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate --universal --python-version 3.11 requirements/test.in -o requirements/test.txt

clean:
	rm -rf $(VENV) build dist
