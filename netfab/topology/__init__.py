"""The user's words."""

DEFAULT = "default"  # the fabric of `netfab run`; no file can have that name
MAX_BYTES = 4 << 20  # of a topology file
MAX_ERRORS = 500  # most errors reported for one file
