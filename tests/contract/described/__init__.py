"""The API tried by its own description, with requests that nobody thought of."""
