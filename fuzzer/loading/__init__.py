"""Reads schema sources and runs them on a scratch database."""
