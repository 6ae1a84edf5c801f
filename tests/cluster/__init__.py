"""A real Kubernetes for the tests: built from its Go modules, run on this machine.

``python -m tests.cluster up`` starts it, ``down`` removes every trace of it.
"""
