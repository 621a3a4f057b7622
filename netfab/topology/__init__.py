"""The user's words."""

DEFAULT = "default"  # the fabric of `netfab run`, which no file can have
MAX_BYTES = 4 << 20  # of a topology file
MAX_ERRORS = 500  # of one that are told
