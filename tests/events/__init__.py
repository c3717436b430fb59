"""What `events/` promises."""
