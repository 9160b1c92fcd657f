"""Language models by HTTP: one scrubbed way out, three dialects, budgets of time, and what to do when one fails."""
