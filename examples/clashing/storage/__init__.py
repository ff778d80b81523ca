"""This project's own, too."""

SHELVES = 3
