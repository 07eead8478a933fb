"""The page: what the ledger says, for people, rendered on the server and without a script."""
