"""What `api/` promises."""
