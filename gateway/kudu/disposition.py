"""The name of an uploaded file, from its Content-Disposition header (webjobs.md 6.3). Pure.

Clients write it in every way there is: with any disposition type (`attachement` was copied from
Kudu's own documentation), with or without quotes, with a directory, as `filename*` (RFC 5987), as
an encoded word (RFC 2047, what .NET sends), or as plain UTF-8.
"""

from __future__ import annotations

import re
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from urllib.parse import unquote_to_bytes

_PLAIN = re.compile(r';\s*filename\s*=\s*("(?:[^"\\]|\\.)*"|[^;]*)', re.IGNORECASE)
_CODED = re.compile(r";\s*filename\*\s*=\s*([\w-]+)'[^']*'([^;\s]+)", re.IGNORECASE)
_MAX_BYTES = 255  # of a name on every file system that matters


def file_name(header: str) -> str:
    """Return the last part of the name; "" if there is none that can be a file's."""
    name = _coded(header) or _plain(header)
    name = name.replace("\\", "/").rpartition("/")[2].strip()
    if name in {".", ".."} or any(ord(letter) < 32 for letter in name):
        return ""
    return name if len(name.encode("utf-8", "surrogateescape")) <= _MAX_BYTES else ""


def _coded(header: str) -> str:
    found = _CODED.search(f";{header}")
    if found is None:
        return ""
    try:
        return unquote_to_bytes(found[2].strip('"')).decode(found[1])
    except (LookupError, UnicodeDecodeError):
        return ""


def _plain(header: str) -> str:
    # The type may be left out: then the name comes first.
    found = _PLAIN.search(f";{header}")
    text = found[1].strip() if found else ""
    if text.startswith('"'):
        # Only a quote is escaped: in "C:\dir\run.sh" the backslashes are a path's.
        text = text[1:-1].replace('\\"', '"')
    if text.startswith("=?"):
        try:
            return str(make_header(decode_header(text)))
        except (HeaderParseError, LookupError, UnicodeDecodeError):
            return text
    return text
