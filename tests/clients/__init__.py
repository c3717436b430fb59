"""Every client that is promised to work, driven through every operation: `make clients`, which writes
docs/reference/clients.md. The clients are installed apart from all else, in .venv-clients and node/."""
