"""Bytes and names: content-addressed files and one SQLite index. Knows neither HTTP nor JSON."""
