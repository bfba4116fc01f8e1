"""Fuzz targets for the parsers that are Python: what strangers send may be refused, and nothing else."""
