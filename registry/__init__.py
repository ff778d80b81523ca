"""An OCI registry: the distribution API over `storage`."""

__version__ = "0.1.0"
