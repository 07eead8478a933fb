"""From what was consumed to money."""
