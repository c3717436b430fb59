"""Batches on the wire, and what can be asked about one."""
