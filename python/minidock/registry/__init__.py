"""Registries that speak the OCI distribution protocol: a client, its credentials, its limits."""
