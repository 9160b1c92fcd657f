"""How an offer is said: by a model, through slots that are filled from the signed snapshot, or by a template."""
