"""The state of fabrics and of the host, as plain data. Only reads."""
