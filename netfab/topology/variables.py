"""`${VAR}` in a scalar, after YAML is parsed, so that a value can never become structure.

`${VAR}`, `${VAR:-default}`, `${VAR:?message}` and `$$`; `$HOME` is the shell's business and stays.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from netfab.topology.grammar import Wrong, quoted, shown

_VARIABLE = r"\$(?:\$|\{([^}]*)(\}?))"
_INSIDE = r"([A-Za-z_][A-Za-z0-9_]*)(?::([-?])(.*))?"


def interpolated(text: str, environ: Mapping[str, str]) -> str:
    """The text with its variables' values; Wrong if one has no value."""

    def value(match: re.Match[str]) -> str:
        inside, closed = match.groups()
        return "$" if inside is None else _value(match.group(), inside if closed else "", environ)

    return re.sub(_VARIABLE, value, text)


def _value(written: str, inside: str, environ: Mapping[str, str]) -> str:
    parts = re.fullmatch(_INSIDE, inside, re.DOTALL)
    if parts is None or "${" in inside:
        raise Wrong(
            f"{quoted(written)} is not one of ${{VAR}}, ${{VAR:-default}}, ${{VAR:?message}}; "
            "write `$${` for a literal `${`"
        )
    name, sign, rest = parts.groups()
    value = environ.get(name)
    if value or (value is not None and sign is None):
        return value
    if sign == "-":
        return str(rest)
    if sign == "?" and rest:
        raise Wrong(f"${{{name}}} is not set: {shown(rest)}")
    raise Wrong(f"${{{name}}} is not set; set it, or write ${{{name}:-default}}")
