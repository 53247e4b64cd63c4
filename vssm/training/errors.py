"""Errors of a training.

TrainingError
└── StoppedError
"""


class TrainingError(RuntimeError):
    """A training cannot go on; the message says why and what to do."""


class StoppedError(TrainingError):
    """A training was asked to stop; its state is saved and the same command goes on with it."""
