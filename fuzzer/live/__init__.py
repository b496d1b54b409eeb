"""Copies the structure and roles of a live database, which is only read."""
