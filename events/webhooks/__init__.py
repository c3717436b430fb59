"""Webhook endpoints, their secrets, and the messages on their way to them."""
