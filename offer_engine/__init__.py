"""Which offer is right for whom, and how it is said. Deciding is pure functions; ``models`` alone speaks to anybody."""
