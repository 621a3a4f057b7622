"""Fabrics over several hosts: the agent on each, the ways to it, and who coordinates them."""
