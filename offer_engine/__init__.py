"""Which offer is right for whom: eligibility, ranking, and a decision that can be replayed. Pure functions, no I/O."""
