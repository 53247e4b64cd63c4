"""A service under load for long, and what must be true of its memory, files and keys: `python -m tests.soak --help`."""
