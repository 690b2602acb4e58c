"""More training rows from those that are there; one way a file."""
