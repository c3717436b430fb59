"""The contract as the official SDKs see it."""
