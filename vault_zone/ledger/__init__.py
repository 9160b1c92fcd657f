"""The books: double entry, append-only, for each merchant, processor and currency. docs/ledger.md shows them at work."""
