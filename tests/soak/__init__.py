"""Simulated days with random faults: ``python -m tests.soak --seconds 300 --seed 7``."""
