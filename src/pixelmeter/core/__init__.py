"""What an image call means: pure code, with no I/O, clock, environment, thread or log."""
