"""netfab: networks of containers, from one file. The public API is fabric.py's, re-exported lazily."""

__version__ = "0.1.0.dev0"
