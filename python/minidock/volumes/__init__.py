"""Volumes: named places for data that outlives containers."""
