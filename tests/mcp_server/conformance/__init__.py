"""The official conformance suite put to our stack: what it calls (fixtures.py), how it is run (suite.py)."""
