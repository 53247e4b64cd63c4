"""A whole service under random faults, and what must be true afterwards: `python -m tests.chaos --help`."""
