"""Unattended work: unconfirmed changes are rolled back, what others changed is repaired."""
