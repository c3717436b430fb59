"""Sealing the log: its tree kept up with, checkpoints signed, and witnesses told of them."""
