"""The state of this host: guests, NICs, bridges, and the facts for the planner. Plans nothing."""
