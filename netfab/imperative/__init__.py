"""What commands without a file ask for: kept, and the host's own fabrics planned and applied from it."""
