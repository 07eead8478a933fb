"""The HTTP server on a ledger: metrics whose counters outlive every program that makes calls."""
