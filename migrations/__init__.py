"""Numbered plain SQL, run in order by `batchmill migrate` and by `batchmill serve` at start.

Promises: a migration, once released, is never edited; each says the oldest program that can still use the
schema. This package holds no code, only the files.
"""
