"""One reader an API: what a request asks for, and what an answer gave."""
