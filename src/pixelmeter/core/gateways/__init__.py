"""What a gateway profile may say, and which profile a host or an answer has."""
