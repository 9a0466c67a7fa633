"""Shorten addresses to what messages, reports and MLflow may show."""

import re

# `user:password@` of an address; also where the password holds characters that should have been escaped.
_LOGIN = re.compile(r"""(?<=://)(?:[^/?#\s'"]*|[^/\s'":@]*:(?!\d+(?:/|$))[^\s'"]*)@""")
# Keys and signatures stand in queries, and after `#`.
_QUERY = re.compile(r"""(://[^\s'"?#]*)[?#][^\s'"]*""")


def without_credentials(text: str) -> str:
    """Return the text without user, password and query in every address in it."""
    return _QUERY.sub(r"\1", _LOGIN.sub("", text))
