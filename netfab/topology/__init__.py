"""The user's words."""

DEFAULT = "default"  # the fabric of `netfab run`, which no file can have
