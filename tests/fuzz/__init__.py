"""Hostile input by the million: against every operation of a server, every decoder, and its sockets."""
