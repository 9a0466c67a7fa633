"""Download files over http(s): mirrors in turn, five times, resumed after a break, checked, kept for good.

Files are kept in `.cache/downloads`, where a later run finds them without network and where a user may put them.
"""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import requests
import urllib3
from filelock import FileLock
from tqdm import tqdm

from src.core import files
from src.core.addresses import without_credentials
from src.core.errors import UserError

TIMEOUT = (2.0, 10.0)  # seconds to connect to each address of a host, and without a byte
WAITS = (0.0, 1.0, 2.0, 4.0, 8.0)  # seconds before each round of the mirrors


def fetch(urls: Sequence[str], path: Path, checksum: str | None, max_bytes: int, remedy: str) -> None:
    """Download the file `path` from the first of `urls` that gives it, unless it is there already.

    A file that is there is taken if it has the `checksum`, such as `md5:9e10…`, or if there is none to compare. Raise
    `UserError`, which ends with the `remedy`, if no mirror gives the file, or if it has more than `max_bytes`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    # Of two experiments at the same time the second waits, then finds the file.
    with FileLock(f"{path}.lock"):
        if path.is_file() and _agrees(path, checksum):
            return
        reasons: dict[str, str] = {}  # the last of each mirror
        left = list(urls)
        for wait in WAITS:
            time.sleep(wait)
            for url in list(left):
                # Without a checksum nothing tells if a part belongs to the file that the server has now.
                start = part.stat().st_size if checksum and part.is_file() else 0
                before = reasons.get(url)
                try:
                    _download(url, part, start, max_bytes)
                    if _agrees(part, checksum):
                        part.replace(path)
                        return
                    part.unlink()
                    # The part that was there may have been at fault.
                    reasons[url], again = "the file there has another checksum", start > 0
                except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
                    reasons[url], again = _reason(error)
                if reasons[url] != before:
                    print(f"mirror {without_credentials(url)}: {reasons[url]}", file=sys.stderr, flush=True)
                if not again:
                    left.remove(url)
            if not left:
                break
        said = "; ".join(f"{without_credentials(url)}: {reason}" for url, reason in reasons.items())
        raise UserError(f"cannot download ({said}): {remedy}")


def _agrees(path: Path, checksum: str | None) -> bool:
    if checksum is None:
        return True
    algorithm, _, value = checksum.partition(":")
    return files.digest(path, algorithm) == value


def _download(url: str, part: Path, start: int, max_bytes: int) -> None:
    """Download to `part`, if the server can from its byte `start` on."""
    headers = {"Accept-Encoding": "identity"}  # or the file's own gzip might be taken off
    if start:
        headers["Range"] = f"bytes={start}-"
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        if start and response.status_code == requests.codes.requested_range_not_satisfiable:
            return  # the part is as long as the file, or longer
        response.raise_for_status()
        if response.status_code != requests.codes.partial_content:
            start = 0
        length = response.headers.get("Content-Length", "")
        total = start + int(length) if length.isdecimal() else None
        bar = tqdm(total=total, initial=start, desc=part.stem, unit="B", unit_scale=True, disable=None)
        with part.open("ab" if start else "wb", buffering=0) as file, bar:
            for piece in response.raw.stream(2**18, decode_content=False):
                if file.tell() + len(piece) > max_bytes:
                    size = f"{max_bytes / 2**30:,.3g} GiB"
                    raise UserError(f"{without_credentials(url)} has more than {size}: raise data.max_gib if it should")
                file.write(piece)
                bar.update(len(piece))


def _reason(error: Exception) -> tuple[str, bool]:
    """Return a few words, and if trying again may help. The libraries' texts hold the URL, which may be secret."""
    match error:
        case requests.HTTPError(response=requests.Response() as response):
            later = response.status_code >= 500 or response.status_code in (408, 429)
            return f"{response.status_code} {response.reason}", later
        case requests.exceptions.SSLError():
            return "its certificate is not trusted, or a proxy intercepts the connection", False
        case requests.TooManyRedirects():
            return "it redirects without end", False
        case requests.Timeout() | urllib3.exceptions.TimeoutError():
            return "no answer in time", True
        case urllib3.exceptions.HTTPError():
            return "the connection broke off", True
        case requests.ConnectionError():
            return "not reachable", True
    return "not a valid URL of http or https", False
