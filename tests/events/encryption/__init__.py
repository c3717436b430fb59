"""What `events/audit/` promises."""
