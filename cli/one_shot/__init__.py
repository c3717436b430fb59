"""`batchmill run`: one file to another, durable, without a server."""
