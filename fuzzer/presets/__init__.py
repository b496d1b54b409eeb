"""Presets: platforms whose roles, schemas and identity are known."""
