"""When nobody types: a change that nobody confirmed is taken back, what others changed is repaired."""
