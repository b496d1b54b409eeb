"""The pytest plugin: a target's doors as test items, and the fixture ``tenants``."""
