"""What gateways say that they have charged, against the ledger."""
