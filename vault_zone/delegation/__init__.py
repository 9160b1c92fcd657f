"""Cards that agent platforms hand over: the Agentic Commerce Protocol's delegate_payment and UCP's tokenizer.

Both are adapters over one engine (``handover.py``). There is no call that gives a card back.
"""
