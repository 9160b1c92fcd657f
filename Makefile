# `make demo` and `make test` are all a newcomer needs; both set up .venv first.
export UV_SYSTEM_CERTS ?= 1
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
PACKAGES := vault_zone commerce_api mcp_server offer_engine tokenization audit compliance_docs
CODE := $(PACKAGES) examples benchmarks tests deploy deployables.py

.PHONY: demo test check install needs format lint types contracts security docs clean lock bench

demo: install ## one purchase through everything, then the search for the card
	@$(BIN)/python -m examples.demo $(DEMO)

test: install needs ## every test, on SQLite and PostgreSQL, with a real browser
	$(BIN)/python -m pytest $(TESTS)

check: install format lint types contracts security docs test ## everything that must hold before a change lands

install: .venv/.installed

.venv/.installed: deploy/locks/dev.txt pyproject.toml deployables.py deploy/install.sh
	@PYTHON="$(PYTHON)" deploy/install.sh
	@touch $@

needs:
	@deploy/test-needs.sh

format:
	$(BIN)/ruff format --check $(CODE)

lint:
	$(BIN)/ruff check $(CODE)

types:
	$(BIN)/mypy

contracts:
	$(BIN)/lint-imports

security:
	$(BIN)/bandit -q -c pyproject.toml -r $(PACKAGES)

docs:
	$(BIN)/python -m compliance_docs.generate --check

bench: install ## ratios against named baselines, with this machine's commit latency
	$(BIN)/python -m benchmarks.scan
	$(BIN)/python -m benchmarks.audit_log

lock: install ## write the lock files anew from pyproject.toml
	PYTHON=$(BIN)/python deploy/lock.sh

clean:
	rm -rf .venv .cordon .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
