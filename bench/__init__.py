"""Benchmarks: run by a command, reported as figures, never asserted in tests."""
