"""Commands without a file: their requests are stored, and the host's own fabrics applied from them."""
