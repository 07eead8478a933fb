"""Live views of the attempts, for those who watch a program while it runs."""
