"""Documents as msgspec structs: OCI image and runtime specifications, Docker Engine API bodies. No logic lives here."""
