"""Where a model came from: digests, what others say of them, who signed them, and the chain that led to it."""
