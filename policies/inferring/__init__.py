"""Inference: what a catalog shows of tenancy and identity, each guess with its reason."""
