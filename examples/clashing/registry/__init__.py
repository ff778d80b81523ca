"""This project's own: it has nothing to do with oci-registry."""

NAMES = ["team/app"]
