"""Root filesystems of containers: an overlay over an image's layers, or a plain copy where overlayfs cannot be used."""
