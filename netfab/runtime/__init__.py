"""Containers: one supervisor per fabric, real isolation, no daemon to install."""
