"""The hosted checkout page: review, waiting, bank, receipt and notices. No field for a card, no script at all."""
