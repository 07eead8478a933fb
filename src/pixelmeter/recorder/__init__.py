"""From an attempt to the spool and the sinks, and on its own thread from the spool to the ledger."""
