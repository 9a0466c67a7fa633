"""Downloads over http(s): mirrors, retries with back-off, resumed after a break, checked, kept for good.

Files are kept in `.cache/downloads`, where a later run finds them without network and where a user may put them.
"""

import fcntl
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import requests
import urllib3
from tqdm import tqdm

from src.core import files
from src.core.addresses import without_credentials
from src.core.errors import UserError
from src.data.connecting import session

ROUNDS = 4  # of all mirrors without progress; with the waits between them 7 s, enough for a router to come back
FIRST_WAIT = 1.0  # seconds, doubled after each round
TIMEOUT = (4.0, 30.0)  # seconds to connect, whatever addresses a host has; and without a byte
SILENCES = 2  # a mirror that gave no answer in time so often is not asked again
PATIENCE = 15.0  # seconds without an answer of any mirror, after which no other round begins
MOST_BYTES = 256 * 2**30  # a server may send without an end; ImageNet has 150 GB
_PIECE = 2**18


class Checksum(NamedTuple):
    algorithm: str  # md5 | sha256
    value: str  # hexadecimal


class _Refused(Exception):
    """The server will not give this file: trying again is of no use."""


def fetch(urls: Sequence[str], path: Path, checksum: Checksum | None, remedy: str) -> Path:
    """The file at `path`, downloaded from the first of `urls` that gives it unless it is there already.

    With a `checksum` a file that is there is used only if it agrees; without one, as it is. `remedy` ends the
    `UserError` that is raised when no mirror gives the file.
    """
    with _locked(path):
        if path.is_file() and _agrees(path, checksum):
            return path
        partial = path.with_name(f"{path.name}.part")
        if checksum is None:
            partial.unlink(missing_ok=True)  # nothing could tell whether the server's file is still the same
        with files.naming(path, partial):
            _try_mirrors(list(urls), partial, checksum, remedy)
        with files.replacing(path) as temporary:
            partial.replace(temporary)
    return path


def _agrees(path: Path, checksum: Checksum | None) -> bool:
    return checksum is None or files.digest(path, checksum.algorithm) == checksum.value


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Experiments that run at the same time share the folder: the second waits, then finds the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f"{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _try_mirrors(urls: list[str], partial: Path, checksum: Checksum | None, remedy: str) -> None:
    reasons: dict[str, str] = {}
    tags: dict[str, str] = {}
    silences: Counter[str] = Counter()
    answered = time.monotonic()
    longest = _size(partial)
    rounds = 0
    while urls and rounds < ROUNDS and (not rounds or time.monotonic() - answered < PATIENCE):
        if rounds:
            print(f"trying again in {FIRST_WAIT * 2 ** (rounds - 1):g} s", file=sys.stderr, flush=True)
            time.sleep(FIRST_WAIT * 2 ** (rounds - 1))
        rounds += 1
        for url, following in zip_longest(list(urls), urls[1:]):
            try:
                resumed = _download(url, partial, tags, checksum is not None)
                if _agrees(partial, checksum):
                    return
                reasons[url] = "the file there has another checksum"
                partial.unlink()
                if not resumed:  # else the part that was there may have been at fault
                    urls.remove(url)
            except _Refused as refused:
                reasons[url] = str(refused)
                urls.remove(url)
            except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
                reasons[url] = _reason(error)
                silences[url] += isinstance(error, requests.Timeout)
                if silences[url] == SILENCES:
                    urls.remove(url)
                if not isinstance(error, requests.Timeout | requests.ConnectionError):
                    answered = time.monotonic()
            if _size(partial) > longest:  # however often it breaks off, it gets on
                longest = _size(partial)
                rounds = 1
            after = f", trying {without_credentials(following)}" if following else ""
            print(f"mirror {without_credentials(url)}: {reasons[url]}{after}", file=sys.stderr, flush=True)
    told = "; ".join(f"{without_credentials(url)}: {reason}" for url, reason in reasons.items())
    raise UserError(f"cannot download ({told}): {remedy}")


def _download(url: str, partial: Path, tags: dict[str, str], checked: bool) -> bool:
    """Downloads to `partial`; returns whether it went on where that ended.

    It does if the server can, and if the file is known to be still the same: by its tag, or since it is `checked`.
    """
    start = _size(partial) if checked or url in tags else 0
    headers = {"Accept-Encoding": "identity"}  # or the file's own gzip might be taken off
    if start:
        headers["Range"] = f"bytes={start}-"
        if url in tags:
            headers["If-Range"] = tags[url]
    with session() as asking, asking.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        if response.status_code == requests.codes.requested_range_not_satisfiable:
            partial.unlink()  # longer than the file: start again
            raise requests.ConnectionError("the server's file is shorter than the part that was there")
        if response.status_code in (400, 401, 403, 404, 410, 451):
            raise _Refused(f"{response.status_code} {response.reason}")
        response.raise_for_status()
        secure = [step.url.lower().startswith("https:") for step in (*response.history, response)]
        if secure[0] and not all(secure):  # on the way too: from there anybody could have led it anywhere
            raise _Refused("it leads to an address without TLS")
        resumed = response.status_code == requests.codes.partial_content and response.headers.get(
            "Content-Range", ""
        ).startswith(f"bytes {start}-")
        etag = response.headers.get("ETag", "")
        if etag and not etag.startswith("W/"):
            tags[url] = etag
        start = start if resumed else 0
        length = response.headers.get("Content-Length")
        with (
            partial.open("ab" if resumed else "wb") as file,
            tqdm(
                total=start + int(length) if length and length.isdecimal() else None,
                initial=start,
                desc=partial.stem,
                unit="B",
                unit_scale=True,
                disable=None,  # only on a terminal
            ) as bar,
        ):
            for piece in response.raw.stream(_PIECE, decode_content=False):
                file.write(piece)
                if file.tell() > MOST_BYTES:
                    raise _Refused(f"more than {MOST_BYTES // 2**30} GiB")
                bar.update(len(piece))
    return resumed


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _reason(error: Exception) -> str:
    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"{error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.exceptions.SSLError):
        return "its certificate is not trusted, or a proxy intercepts the connection"
    if isinstance(error, requests.Timeout | urllib3.exceptions.TimeoutError):
        return "no answer in time"
    if isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.InvalidSchema):
        return "not a valid URL"
    if isinstance(error, urllib3.exceptions.HTTPError):
        return "the connection broke off"
    return "not reachable"
