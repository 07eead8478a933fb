"""The version, and the project's address; the build reads both from here."""

__version__ = "0.1.0"

ADDRESS = ""
"""Where the repository is, such as `https://host/owner/pixelmeter`; empty as long as it has no public home."""
