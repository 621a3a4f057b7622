"""Whether what was applied does what it should, and where not, why not; and it drawn. Only reads."""
