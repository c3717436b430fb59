"""What `engine/audit/` promises."""
