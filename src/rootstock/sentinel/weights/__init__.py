"""What weights alone tell of a planted trigger: rows that moved, the shape of an adapter, an encoder that one token collapses.

All of it is weak evidence: an attacker who freezes the embeddings or matches a reference leaves none of it.
"""
