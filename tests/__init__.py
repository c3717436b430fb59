"""Specifications, by room: each folder mirrors one room of the program."""
