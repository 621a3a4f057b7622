"""JSON without importing `json`, which compiles regular expressions: half a MB of a supervisor's memory.

Well-formed text goes to the C scanner and encoder that `json` uses; everything else, errors included, to
`json`.
"""

from __future__ import annotations

from netfab import TYPE_CHECKING

if TYPE_CHECKING:
    from json import dumps as dumps
    from json import loads as loads
else:
    try:
        from _json import encode_basestring_ascii, make_encoder, make_scanner

        class _Usual:
            """The defaults of `json.loads`."""

            strict = True
            object_hook = object_pairs_hook = None
            parse_float, parse_int, parse_constant = float, int, float

        _scan = make_scanner(_Usual)
        _encode = make_encoder(None, None, encode_basestring_ascii, None, ": ", ", ", False, False, True)
    except (ImportError, AttributeError, TypeError):  # an interpreter with other ones, or none
        from json import dumps, loads
    else:

        def loads(text):
            """The value of a JSON text, str or bytes. Raises ValueError."""
            if isinstance(text, bytes):
                text = text.decode()
            try:
                value, end = _scan(text, 0)
                if end == len(text):
                    return value
            except (StopIteration, SystemError, ValueError):  # 3.11's relies on `json` to say what is wrong
                pass
            from json import loads

            return loads(text)

        def dumps(value):
            """A value, without cycles, as JSON text. Raises TypeError."""
            return "".join(_encode(value, 0))
