"""Deterministic simulation of the charge engine: one seed, one history, the same every time.

Time, the network, the database's faults, the processors, crashes and the order in which everything runs come from one seeded
generator; the engine is the real one, over real SQL. Invariants are checked after every commit and every effect at a
processor.

    python -m tests.simulation --seed 4711          one history, told step by step when it fails
    python -m tests.simulation --seeds 0:100000     many, on every core
"""
