"""Hypothesis strategies for worlds, principals and actions. Pure: no I/O."""
