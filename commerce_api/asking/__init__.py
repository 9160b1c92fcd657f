"""A need in plain words, answered from the record: what was understood, what fits, what is missing, what to call next."""
