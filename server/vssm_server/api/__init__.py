"""The HTTP front end. Imports no torch and nothing of the worker."""
