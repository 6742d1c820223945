"""Pure Python that knows numbers, words, places and ciphers, but no Django model."""
