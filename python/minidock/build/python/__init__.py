"""Builds that are written in Python: the instructions of a Dockerfile as methods, over the same graph and cache."""
