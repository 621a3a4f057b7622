"""Fabrics over several hosts: the agent on each, the transports to it, and the coordinator."""
