"""What gateways say that they have charged, beside what attempts say."""
