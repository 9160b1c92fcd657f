"""Vectors of products and needs, so that "earphones" finds earbuds: an extra, ``cordon[embeddings]``.

The model is all-MiniLM-L6-v2 (Apache-2.0), a file in a package of its own: nothing is downloaded. It compares texts and writes
none.
"""
