"""Outcome pricing: what an agent brought about becomes lines of a bill, by the contract of its time, with the evidence."""
