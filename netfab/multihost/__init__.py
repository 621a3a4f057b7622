"""Fabrics over several hosts: what fabric.py is for those of one. For these it is never imported."""
