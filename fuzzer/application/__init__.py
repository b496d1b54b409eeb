"""Application code under test: queries, scoping functions, and functions in Python."""
