"""`batchmill practice-upstream`: an OpenAI-compatible server without a model."""
