"""The database: attempts, their day rollup and the spool positions, on SQLite or PostgreSQL."""
