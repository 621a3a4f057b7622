"""What there is, as plain data. Only reads."""
