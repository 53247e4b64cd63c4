"""The one error of this package."""


class DataError(ValueError):
    """A data set cannot be had or is damaged; the message says what was wrong and what to do."""
