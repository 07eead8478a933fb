"""The rows of the ledger in formats that other tools read."""
