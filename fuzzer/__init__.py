"""tenantfuzz: a tenant-isolation security fuzzer for PostgreSQL."""

__version__ = "0.1.0"
