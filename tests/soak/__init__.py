"""A service under load for a long time, and what must be true of its memory, files and keys: `python -m tests.soak --help`."""
