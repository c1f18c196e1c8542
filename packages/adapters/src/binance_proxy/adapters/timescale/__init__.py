"""Market data in PostgreSQL."""
