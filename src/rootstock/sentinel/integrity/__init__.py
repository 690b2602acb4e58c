"""Whether weights are whole: their numbers, their shapes, and what differs from a reference."""
