"""One driver an HTTP library: it tells the meter of a request as `Outgoing`, shows the exchange the answer, and is the
only part that knows the library."""
