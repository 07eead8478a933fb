"""From bytes to documents and times; knows no vendor."""
