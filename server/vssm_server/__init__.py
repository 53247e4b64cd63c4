"""Generation server for variational state space models: HTTP front end, queue, sessions and workers."""

__version__ = "0.1.0"
