"""What files are for."""

from typing import Final

BATCH: Final = "batch"
"""Of an input file of batches."""
UPLOADED: Final = ("assistants", BATCH, "fine-tune", "vision", "user_data", "evals")
"""What a client may upload a file for."""
DOWNLOADED: Final = frozenset({BATCH, "batch_output", "fine-tune", "fine-tune-results", "evals"})
"""What a file must be for, so that its content can be had back."""
