"""What `storage/` promises."""
