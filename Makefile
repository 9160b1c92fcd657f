# `make demo` and `make test` are all a newcomer needs; both set up .venv first.
export UV_SYSTEM_CERTS ?= 1
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
PACKAGES := vault_zone commerce_api mcp_server offer_engine tokenization audit compliance_docs
CODE := $(PACKAGES) examples benchmarks tests deploy deployables.py

.PHONY: demo test check install needs format lint types contracts security docs clean lock bench sbom wheels fuzz simulate

demo: install ## one purchase through everything, then the search for the card
	@$(BIN)/python -m examples.demo $(DEMO)

test: install needs ## every test, on SQLite and PostgreSQL, with a real browser
	$(BIN)/python -m pytest -n auto --maxprocesses 8 --dist loadfile --durations 25 $(TESTS)

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
	$(BIN)/python -m benchmarks.keys
	$(BIN)/python -m benchmarks.ledger
	$(BIN)/python -m benchmarks.no_oracle
	$(BIN)/python -m benchmarks.lost_replies
	$(BIN)/python -m benchmarks.charge
	$(BIN)/python -m benchmarks.tokenise
	$(BIN)/python -m benchmarks.catalogue_search
	$(BIN)/python -m benchmarks.asking
	$(BIN)/python -m benchmarks.hedging --calls 4000
	$(BIN)/python -m benchmarks.saying
	$(BIN)/python -m benchmarks.mcp_calls
	$(BIN)/python -m benchmarks.offers_market
	$(BIN)/python -m benchmarks.offers_decide
	$(BIN)/python -m benchmarks.offers_guards
	$(BIN)/python -m benchmarks.offers_training --decisions 1000 10000 100000

lock: install ## write the lock files anew from pyproject.toml, and with them the bills of materials
	PYTHON=$(BIN)/python deploy/lock.sh
	$(MAKE) sbom

sbom: install ## the zone's bills of materials (CycloneDX) from its locks
	$(BIN)/python deploy/bills.py

wheels: install ## each deployable's wheel in dist/, with its SHA-256: the same bytes from the same checkout
	@rm -rf dist
	@for deployable in zone commerce auditor; do CORDON_DEPLOYABLE=$$deployable $(BIN)/python -m uv build --quiet --wheel \
	  --no-build-isolation --python $(BIN)/python --out-dir dist .; done
	@cd dist && sha256sum *.whl

fuzz: install ## SECONDS=60 for each parser that meets card data, guided by coverage
	$(BIN)/python -m tests.vault_zone.fuzz.run --seconds $(or $(SECONDS),60)

simulate: install ## SEEDS=0:100000 histories of the charge engine, on every core
	$(BIN)/python -m tests.simulation --seeds $(or $(SEEDS),0:10000)

clean:
	rm -rf .venv .cordon .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
