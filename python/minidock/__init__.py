"""minidock: the Docker Engine as one pip install."""
