"""Adapters: application code in any language, called over JSON lines."""
