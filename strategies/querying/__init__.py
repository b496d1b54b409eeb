"""Generated queries: a small tree over the catalog that renders to SQL, and what goes into it."""
