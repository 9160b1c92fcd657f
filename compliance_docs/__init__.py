"""Requirement → control → evidence, as data, and the documents made from it. A self-assessment; an assessor decides."""
