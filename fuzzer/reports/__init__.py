"""Reports: consumers of a campaign's events that write files, the suffix saying which."""
