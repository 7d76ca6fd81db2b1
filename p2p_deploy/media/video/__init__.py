"""Video files: read and written through PyAV, which is loaded only when one is opened."""
