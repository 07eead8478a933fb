"""One reader an API: what a request asks for, and what a response gave."""
