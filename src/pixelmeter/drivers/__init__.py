"""One driver an HTTP library: it tells the meter of a request as `Outgoing`, shows the exchange the answer, and is the
only part that knows the library."""

ANOTHER = "this client is instrumented with another meter already: go on with that one, or make a new client"
"""Why a client is not instrumented again."""
