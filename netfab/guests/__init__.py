"""Containers that somebody else runs: found, and their network namespaces opened. Changes nothing."""
