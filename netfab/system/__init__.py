"""System calls that Python 3.11 does not offer. The only room that uses ctypes; it decides nothing."""
