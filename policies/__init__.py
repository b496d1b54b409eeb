"""The declared intent: ownership, rules, principals, predictions. Pure: no I/O."""
