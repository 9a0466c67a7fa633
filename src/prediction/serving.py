"""A model over HTTP: a page on which a photo is dropped, `POST /predict`, `GET /healthz` and `GET /metrics`.

A request is admitted (503), read (413), decoded in threads (400), computed in a batch with photos of other requests,
and explained by Grad-CAM, if it asks for that, in a thread of its own. Every error is JSON: one sentence under the key
`error`.
"""

import asyncio
import base64
import io
import os
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
from fastapi import FastAPI, HTTPException, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from numpy.typing import NDArray
from PIL import Image
from starlette import exceptions
from starlette.requests import ClientDisconnect

from src.core.errors import UserError
from src.data.images import Unreadable
from src.data.prepared import ImageFormat
from src.figures.template import templates
from src.prediction.batching import Batcher, Busy, Room
from src.prediction.classify import batch_size
from src.prediction.explanation import grad_cam, laid_over
from src.prediction.model import Model
from src.prediction.photos import Pixels, Prepared, prepare
from src.prediction.telemetry import Measured, Telemetry
from src.prediction.uploads import Upload, receive
from src.prediction.writing import row

# Of the page: nothing comes from elsewhere, and nothing goes there.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data: blob:; " \
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"  # fmt: skip


class Limits(NamedTuple):
    """Bound what is held and computed at a time: with the defaults at most 1 GiB of files."""

    bytes: int = 16 * 2**20  # of one request's body
    requests: int = 64  # in work
    batch: int = 32  # photos in one forward pass
    wait: float = 0.004  # seconds that a batch waits for photos of other requests


def application(model: Model, name: str, md5: str, limits: Limits) -> FastAPI:
    """Return the server's addresses. name, md5: which model."""
    telemetry = Telemetry()
    requests = Room(limits.requests)
    image = model.spec.image
    target = (image.width, image.height)
    brought = {"to": target, "by": image.resize or "crop"}
    size = min(limits.batch, batch_size(image))
    batcher = Batcher(model.probabilities, size, limits.wait, requests, telemetry.batches.add)
    decoders = ThreadPoolExecutor(os.cpu_count(), "decode")
    explainer = ThreadPoolExecutor(1, "explain")

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        yield
        decoders.shutdown()
        explainer.shutdown(cancel_futures=True)
        batcher.close()

    # The documentation that FastAPI serves loads scripts from elsewhere.
    app = FastAPI(title=name, lifespan=life, docs_url=None, redoc_url=None)
    app.add_middleware(Measured, telemetry=telemetry)
    page = templates(Path(__file__).parent).get_template("serving.html.jinja").render(
        name=name, md5=md5, model=model.spec.model.name, classes=model.spec.classes, image=image
    )  # fmt: skip

    def known_coverage(coverage: str) -> float:
        try:
            return model.least(coverage)
        except UserError as fault:
            raise HTTPException(400, str(fault)) from None

    @app.post("/predict")
    async def predict(request: Request, top: Annotated[int, Query(ge=1)] = 5, explain: bool = False,
        coverage: str | None = None) -> Response:  # fmt: skip
        least = None if coverage is None else known_coverage(coverage)
        with requests.enter():
            run = asyncio.get_running_loop().run_in_executor
            uploads = await receive(request, limits.bytes)
            photos = await asyncio.gather(*(run(decoders, decoded, upload, image) for upload in uploads))
            rows = await asyncio.gather(*(asyncio.wrap_future(batcher.submit(photo.pixels)) for photo in photos))
            answers = []
            for upload, photo, probabilities in zip(uploads, photos, rows, strict=True):
                _, classes, possible = row(Path(upload.name), probabilities, model.spec.classes, top, least)
                answer: dict[str, Any] = {
                    "file": upload.name or None,
                    "class": classes[0][0],
                    "probability": round(classes[0][1], 6),
                    "probabilities": {each: round(probability, 6) for each, probability in classes},
                    "resized": None if photo.size == target else brought | {"from": photo.size},
                    "model": {"name": name, "md5": md5},
                }
                if possible is not None:
                    answer["possible"] = possible
                if explain:
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
        return JSONResponse({"error": f"{first['loc'][-1]} is {first['input']}: {first['msg']}"}, 400)

    @app.exception_handler(Busy)
    async def busy(_: Request, error: Busy) -> Response:
        return JSONResponse({"error": str(error)}, 503, {"Retry-After": "1"})

    @app.exception_handler(ClientDisconnect)
    async def gone(_: Request, __: ClientDisconnect) -> Response:
        return JSONResponse({"error": "the request ended before its body"}, 400)

    @app.exception_handler(UserError)
    @app.exception_handler(Exception)
    async def failed(_: Request, error: Exception) -> Response:
        known = isinstance(error, UserError)  # of the model; anything else is a bug, whose traceback the log has
        return JSONResponse({"error": str(error) if known else "the server failed: its log says why"}, 500)

    return app


def decoded(upload: Upload, image: ImageFormat) -> Prepared:
    """Decode a photo. Raise `HTTPException` where it is none that can be read."""
    try:
        return prepare(upload.content, image)
    except Unreadable as reason:
        raise HTTPException(400, f"{upload.name or 'the photo'} cannot be read: {reason}") from None


def explanation(model: Model, pixels: Pixels, probabilities: NDArray[np.float32]) -> dict[str, Any]:
    """Return what the most probable class rests on: pictures as data URLs, of the model's size."""
    label = int(probabilities.argmax())
    return {
        "class": model.spec.classes[label],
        "seen": _data_url(pixels),
        "map": _data_url(laid_over(pixels, grad_cam(model, pixels, label))),
    }


def _data_url(pixels: Pixels) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels).save(buffer, "png")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
