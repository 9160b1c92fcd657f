"""A stand-in for a card processor: its own process, over HTTP, for the demo, the tests and developers. No money moves.

It takes published test numbers only, says "sandbox" in all it sends, and keeps of a card its brand and last four.
`serve.serve` starts it; `cards.PUBLISHED_CARDS` says what each number does; docs/sandbox.md describes the API.
"""
