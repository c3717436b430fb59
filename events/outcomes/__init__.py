"""What became of lines: the results of flushes, and what can be told from them."""
