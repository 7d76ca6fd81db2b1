"""A run: a model over files, from decoding to encoding, in bounded memory."""
