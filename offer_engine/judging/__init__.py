"""What another policy would have earned, told from a log, or why the log cannot tell: docs/offers-judging.md."""
