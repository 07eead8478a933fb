"""One immutable record of an attempt, from what was asked and what was seen."""
