"""The vocabulary that both sides of the wall share: money, ids, clock, wire models, card-like text. It never holds a card."""
