"""Serve a model over HTTP: a page on which a photo is dropped, `POST /predict`, `GET /healthz` and `GET /metrics`.

A request is admitted (else 503), read (else 413), decoded in threads (else 400), computed in a batch with photos of
other requests and, if it asks for that, explained by Grad-CAM in another thread. Every error is JSON: one sentence
under the key `error`.
"""

import asyncio
import base64
import io
import os
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
from fastapi import FastAPI, HTTPException, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from numpy.typing import NDArray
from pydantic import BaseModel, Field
from starlette import exceptions
from starlette.datastructures import UploadFile
from starlette.requests import ClientDisconnect

from src.core.errors import UserError
from src.data.images import Unreadable, to_image
from src.data.prepared import ImageFormat
from src.figures.template import templates
from src.prediction.batching import Batcher
from src.prediction.explanation import grad_cam, laid_over
from src.prediction.model import Model
from src.prediction.photos import Pixels, Prepared, prepare
from src.prediction.telemetry import Telemetry
from src.prediction.writing import row

# The page loads nothing from elsewhere, and sends nothing there.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data: blob:; " \
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"  # fmt: skip
MOST_FILES = 64  # of a form
MOST_SECONDS = 60.0  # for a body to arrive: a client that is gone must not hold its place for ever


class Limits(NamedTuple):
    """Bound what is held and computed at a time: by default 1 GiB of files."""

    bytes: int = 16 * 2**20  # of a request's body
    requests: int = 64  # at a time
    batch: int = 32  # photos in a forward pass


class Asked(BaseModel, extra="forbid"):
    """Hold the query of a request to `/predict`."""

    top: Annotated[int, Field(ge=1)] = 5
    explain: bool = False
    coverage: str | None = None


class Upload(NamedTuple):
    name: str  # of the file in a form; empty for a body
    content: bytes


def application(model: Model, name: str, md5: str, limits: Limits) -> FastAPI:
    """Return the application. name, md5: of the model, as answers give them."""
    telemetry = Telemetry()
    places = asyncio.Semaphore(limits.requests)
    image = model.spec.image
    target = (image.width, image.height)
    batcher = Batcher(model.probabilities, min(limits.batch, model.batch_size), telemetry.batches)
    decoders = ThreadPoolExecutor(os.cpu_count(), "decode")
    explainer = ThreadPoolExecutor(1, "explain")
    # Without FastAPI's documentation, which loads scripts from elsewhere.
    app = FastAPI(title=name, docs_url=None, redoc_url=None)
    page = templates(Path(__file__).parent).get_template("serving.html.jinja").render(
        name=name, md5=md5, model=model.spec.model.name, classes=model.spec.classes, image=image
    )  # fmt: skip

    @app.middleware("http")
    async def measured(request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
        started = time.perf_counter()
        response = await answer(request)
        if request.url.path == "/predict":
            telemetry.statuses[response.status_code] += 1
            telemetry.seconds += time.perf_counter() - started
        return response

    @app.post("/predict")
    async def predict(request: Request, asked: Annotated[Asked, Query()]) -> Response:
        try:
            least = None if asked.coverage is None else model.least(asked.coverage)
        except UserError as fault:
            raise HTTPException(400, str(fault)) from None
        if places.locked():
            busy = f"the server handles {limits.requests} requests already, its limit: try again in a moment"
            raise HTTPException(503, busy, {"Retry-After": "1"})
        async with places:
            run = asyncio.get_running_loop().run_in_executor
            uploads = await receive(request, limits.bytes)
            photos = await asyncio.gather(*(run(decoders, decoded, upload, image) for upload in uploads))
            rows = await asyncio.gather(*(batcher.probabilities(photo.pixels) for photo in photos))
            answers = []
            for upload, photo, probabilities in zip(uploads, photos, rows, strict=True):
                answer: dict[str, Any] = {
                    **row(Path(upload.name), probabilities, model.spec.classes, asked.top, least).fields(),
                    "file": upload.name or None,
                    "resized": None,
                    "model": {"name": name, "md5": md5},
                }
                if photo.size != target:
                    answer["resized"] = {"from": photo.size, "to": target, "by": image.resize or "crop"}
                if asked.explain:
                    answer["explanation"] = await run(explainer, explanation, model, photo.pixels, probabilities)
                answers.append(answer)
        return JSONResponse(answers[0] if len(answers) == 1 else answers)

    @app.get("/")
    async def index() -> Response:
        return HTMLResponse(page, headers={"Content-Security-Policy": _POLICY})

    @app.get("/healthz")
    async def healthz() -> Response:
        return JSONResponse({"status": "ok", "model": {"name": name, "md5": md5}})

    @app.get("/metrics")
    async def metrics() -> Response:
        return PlainTextResponse(telemetry.text(), media_type="text/plain; version=0.0.4")

    @app.exception_handler(exceptions.HTTPException)
    async def refused(_: Request, error: HTTPException) -> Response:
        return JSONResponse({"error": error.detail}, error.status_code, error.headers)

    @app.exception_handler(RequestValidationError)
    async def misspelt(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        name = first["loc"][-1]
        if name not in Asked.model_fields:
            told = f"there is no parameter {name}: use {', '.join(Asked.model_fields)}"
        else:
            told = f"{name} is {first['input']}: {first['msg'].replace('Input should', 'it must')}"
        return JSONResponse({"error": told}, 400)

    @app.exception_handler(ClientDisconnect)
    async def gone(_: Request, __: ClientDisconnect) -> Response:
        return JSONResponse({"error": "the request ended before its body"}, 400)

    @app.exception_handler(UserError)
    @app.exception_handler(Exception)
    async def failed(_: Request, error: Exception) -> Response:
        known = isinstance(error, UserError)  # anything else is a bug, whose traceback is in the log
        return JSONResponse({"error": str(error) if known else "the server failed: its log says why"}, 500)

    return app


async def receive(request: Request, most_bytes: int) -> list[Upload]:
    """Return the files of a form, or the body as one file. Raises `HTTPException` if nothing or too much comes."""
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
    if not any(upload.content for upload in uploads):
        raise HTTPException(
            400, "no photo came: send JPEG or PNG bytes as the body, or a form with one or more files called file"
        )
    return uploads


def decoded(upload: Upload, image: ImageFormat) -> Prepared:
    """Decode a photo. Raises `HTTPException` if it cannot be read."""
    try:
        return prepare(upload.content, image, upload.name)
    except Unreadable as reason:
        raise HTTPException(400, f"{upload.name or 'the photo'} cannot be read: {reason}") from None


def explanation(model: Model, pixels: Pixels, probabilities: NDArray[np.float32]) -> dict[str, Any]:
    """Return pictures of what the most probable class rests on, as data URLs."""
    label = int(probabilities.argmax())
    found: dict[str, Any] = {"class": model.spec.classes[label]}
    for name, picture in {"seen": pixels, "map": laid_over(pixels, grad_cam(model, pixels, label))}.items():
        buffer = io.BytesIO()
        to_image(picture).save(buffer, "png")
        found[name] = f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return found
