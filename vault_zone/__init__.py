"""The cardholder-data environment: captures a card, seals it, hands out a token and a grant, charges through a processor.

It promises one thing above all (I1): nothing it offers gives a card number or a security code back. There is no read verb.
"""
