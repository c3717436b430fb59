"""The commands that speak HTTP to a running server."""
