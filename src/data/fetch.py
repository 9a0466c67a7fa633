"""Download files over http(s): mirrors in turn, retried, resumed after a break, checked, kept for good.

Files are kept in `.cache/downloads`, where a later run finds them without network and where a user may put them.
"""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import requests
import urllib3
from filelock import FileLock
from tqdm import tqdm

from src.core import files
from src.core.addresses import without_credentials
from src.core.errors import UserError

TIMEOUT = (2.0, 10.0)  # seconds to connect to each address of a host, and without a byte
PATIENCE = 15.0  # seconds without a new byte, after which nothing is tried again
FIRST_WAIT = 1.0  # seconds before the mirrors are tried again, doubled each time


class Checksum(NamedTuple):
    algorithm: str  # md5 | sha256
    value: str  # hexadecimal


class _Refused(Exception):
    """Error of a server that does not give the file: to try again is of no use."""


def fetch(urls: Sequence[str], path: Path, checksum: Checksum | None, max_bytes: int, remedy: str) -> Path:
    """Return `path`, downloaded from the first of `urls` that gives the file unless it is there already.

    A file that is there is taken if it has the `checksum`, or if there is none to compare. Raise `UserError`, which
    ends with the `remedy`, if no mirror gives the file, or if it has more than `max_bytes`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):  # of two experiments at the same time the second waits, then finds the file
        if path.is_file() and _agrees(path, checksum):
            return path
        part = path.with_name(f"{path.name}.part")
        if checksum is None:
            part.unlink(missing_ok=True)  # nothing tells if it belongs to the file that the server has now
        with files.naming(path, part):
            _try_mirrors(list(urls), part, checksum, max_bytes, remedy)
        with files.replacing(path) as temporary:
            part.replace(temporary)
    return path


def _agrees(path: Path, checksum: Checksum | None) -> bool:
    return checksum is None or files.digest(path, checksum.algorithm) == checksum.value


def _try_mirrors(urls: list[str], part: Path, checksum: Checksum | None, max_bytes: int, remedy: str) -> None:
    """Download to `part`, from where it ends if there is a checksum. Raise `UserError` if no mirror gives it."""
    reasons: dict[str, str] = {}
    longest, progressed, wait = 0, time.time(), FIRST_WAIT
    while True:
        for url in list(urls):
            try:
                resumed = _download(url, part, checksum is not None, max_bytes)
                if _agrees(part, checksum):
                    return
                part.unlink()
                reasons[url] = "the file there has another checksum"
                if not resumed:  # else the part that was there may have been at fault
                    urls.remove(url)
            except _Refused as refused:
                reasons[url] = str(refused)
                urls.remove(url)
            except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
                reasons[url] = _reason(error)
                if isinstance(error, ValueError | requests.exceptions.SSLError):  # ValueError: no valid URL
                    urls.remove(url)
            print(f"mirror {without_credentials(url)}: {reasons[url]}", file=sys.stderr, flush=True)
            if part.is_file() and part.stat().st_size > longest:
                longest, progressed, wait = part.stat().st_size, part.stat().st_mtime, FIRST_WAIT
        if not urls or time.time() + wait - progressed > PATIENCE:
            break
        print(f"trying again in {wait:g} s", file=sys.stderr, flush=True)
        time.sleep(wait)
        wait *= 2
    said = "; ".join(f"{without_credentials(url)}: {reason}" for url, reason in reasons.items())
    raise UserError(f"cannot download ({said}): {remedy}")


def _download(url: str, part: Path, resume: bool, max_bytes: int) -> bool:
    """Download to `part`, if it is there and the server can `resume` only what is missing; return if that was so."""
    start = part.stat().st_size if resume and part.is_file() else 0
    headers = {"Accept-Encoding": "identity"}  # or the file's own gzip might be taken off
    if start:
        headers["Range"] = f"bytes={start}-"
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        if response.status_code == requests.codes.requested_range_not_satisfiable:
            part.unlink()
            raise requests.ConnectionError("the server's file is shorter than the part that is there")
        if 400 <= response.status_code < 500 and response.status_code not in (408, 429):  # which mean: later
            raise _Refused(f"{response.status_code} {response.reason}")
        response.raise_for_status()
        if response.status_code != requests.codes.partial_content:
            start = 0
        length = response.headers.get("Content-Length", "")
        total = start + int(length) if length.isdecimal() else None
        bar = tqdm(total=total, initial=start, desc=part.stem, unit="B", unit_scale=True, disable=None)
        with part.open("ab" if start else "wb", buffering=0) as file, bar:
            for piece in response.raw.stream(2**18, decode_content=False):
                if file.tell() + len(piece) > max_bytes:
                    raise _Refused(f"more than {max_bytes / 2**30:,.3g} GiB, which data.max_gib allows")
                file.write(piece)
                bar.update(len(piece))
    return start > 0


def _reason(error: Exception) -> str:
    """Return one or a few words; the libraries' own texts hold the URL, and with it what may be secret."""
    match error:
        case requests.HTTPError(response=requests.Response() as response):
            return f"{response.status_code} {response.reason}"
        case requests.exceptions.SSLError():
            return "its certificate is not trusted, or a proxy intercepts the connection"
        case requests.Timeout() | urllib3.exceptions.TimeoutError():
            return "no answer in time"
        case urllib3.exceptions.HTTPError():
            return "the connection broke off"
        case requests.ConnectionError():
            return "not reachable"
    return "not a valid URL"
