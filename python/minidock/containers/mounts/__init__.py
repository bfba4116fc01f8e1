"""Mounts of containers: volumes, binds, tmpfs, images, overlays."""
