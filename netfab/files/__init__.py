"""Files that users have: topologies, with what they name, those of other tools, and saved plans."""
