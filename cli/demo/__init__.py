"""`batchmill demo`: a batch before one's eyes, from upload to results."""
