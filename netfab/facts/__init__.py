"""What is so on this host now: guests, NICs, bridges, and what of it a planner is told. Plans nothing."""
