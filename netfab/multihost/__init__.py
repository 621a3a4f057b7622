"""Fabrics over several hosts; fabric.py is the same for one host. Never imported for single-host fabrics."""
