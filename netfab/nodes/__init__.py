"""Nodes and their programs, by the names of nodes. Plans nothing."""
