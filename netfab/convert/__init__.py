"""Files of other tools as topologies. Pure: what a file's text says, and which of its keys were left out."""
