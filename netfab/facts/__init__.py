"""The state of this host: guests, NICs, bridges, and what a planner is told of them. Plans nothing."""
