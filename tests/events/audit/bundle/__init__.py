"""Tests of the encoding of bundles, and of what finds them changed."""
