"""Oracles: each judges an observation against the prediction, and yields violations or nothing."""
