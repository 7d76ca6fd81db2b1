"""Still images: files, maps of labels, and what lies beside pixels in them."""
