"""Proofs for whoever does not want to take the server's word: checkpoints, and evidence of a batch."""
