"""Offers in commerce: a brand's policy and records become a decision, its record, a signed offer, and what comes of it."""
