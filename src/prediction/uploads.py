"""The photos of a request."""

import asyncio
from typing import NamedTuple

from fastapi import HTTPException, Request
from starlette.datastructures import UploadFile

MOST_FILES = 64  # of one form
MOST_SECONDS = 60.0  # in which a body must have come: who is gone without a word would hold a place for ever
_NO_PHOTO = "no photo came: send JPEG or PNG bytes as the body, or a form with one or more files called file"


class Upload(NamedTuple):
    name: str  # of the file in a form; empty for a body
    content: bytes


async def receive(request: Request, most_bytes: int) -> list[Upload]:
    """Return the files of a form, or the body as one. Raise `HTTPException` where nothing or too much comes."""
    length = request.headers.get("content-length")
    if length is None:
        raise HTTPException(411, "the request does not say its length: send the header Content-Length")
    if int(length) > most_bytes:
        raise HTTPException(413, f"the request has more than {most_bytes / 2**20:g} MiB, which is the most (--max-mib)")
    try:
        async with asyncio.timeout(MOST_SECONDS):
            if request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
                async with request.form(max_files=MOST_FILES, max_fields=MOST_FILES) as form:
                    files = [file for file in form.getlist("file") if isinstance(file, UploadFile)]
                    uploads = [Upload(file.filename or "", await file.read()) for file in files]
            else:
                uploads = [Upload("", await request.body())]
    except TimeoutError:
        raise HTTPException(408, f"the photo did not come within {MOST_SECONDS:g} seconds") from None
    if not uploads or not all(upload.content for upload in uploads):
        raise HTTPException(400, _NO_PHOTO)
    return uploads
