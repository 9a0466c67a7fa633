"""Shorten addresses to what messages, reports and MLflow may show."""

import re

# `user:password@` in an address, even if the password has characters that should have been escaped.
_LOGIN = re.compile(r"""(?<=://)(?:[^/?#\s'"]*|[^/\s'":@]*:(?!\d+(?:/|$))[^\s'"]*)@""")
# Keys and signatures may stand in the query, or after `#`.
_QUERY = re.compile(r"""(://[^\s'"?#]*)[?#][^\s'"]*""")


def without_credentials(text: str) -> str:
    """Return the text without user, password and query in every address in it."""
    return _QUERY.sub(r"\1", _LOGIN.sub("", text))
