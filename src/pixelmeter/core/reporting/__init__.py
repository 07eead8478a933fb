"""From sums to what is shown."""
