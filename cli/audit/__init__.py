"""Commands that prove what the log says."""
