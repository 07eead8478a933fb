"""What is known, put together for people: questions to a ledger with their answers, and what doctor finds."""
