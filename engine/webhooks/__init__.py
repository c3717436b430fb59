"""Tells webhook endpoints how batches ended."""
