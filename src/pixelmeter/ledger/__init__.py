"""The database: attempts, their day rollup, their totals and the spool positions, on SQLite or PostgreSQL."""
