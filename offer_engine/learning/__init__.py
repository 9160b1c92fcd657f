"""Rankers from the record of decisions: what counts as a reward, how a log is read, models, and where they are kept."""
