"""Serve a model over HTTP: a page on which a photo is dropped, `POST /predict` and `GET /healthz`.

A photo is read (else 413 or 408), decoded in threads (else 400), then computed in one thread and, if that is asked for,
explained there by Grad-CAM. Errors are JSON, as FastAPI writes them: one sentence under the key `detail`.
"""

import asyncio
import base64
import io
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from fastapi import FastAPI, HTTPException, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from numpy.typing import NDArray
from starlette.requests import ClientDisconnect

from src.core.errors import UserError
from src.data.images import Unreadable, to_image
from src.figures.template import templates
from src.prediction.explanation import NO_MAP, explains, grad_cam, laid_over
from src.prediction.model import Model
from src.prediction.photos import Pixels, prepare
from src.prediction.writing import row

# The page loads nothing from elsewhere, and sends nothing there.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data: blob:; " \
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"  # fmt: skip

SECONDS = 60.0  # for a body to arrive: a client that is gone must not hold its connection for ever


def application(model: Model, name: str, md5: str, most_bytes: int) -> FastAPI:
    """Return the application. name, md5: of the model, as answers give them. most_bytes: of a request's body."""
    image = model.spec.image
    about = {"name": name, "md5": md5}
    explained = explains(model)  # finds a model that cannot answer, too, and takes the first pass, the slowest
    decoders = ThreadPoolExecutor(os.cpu_count(), "decode")
    computer = ThreadPoolExecutor(1, "compute")
    # Without FastAPI's documentation, which loads scripts from elsewhere.
    app = FastAPI(title=name, docs_url=None, redoc_url=None)
    page = templates(Path(__file__).parent).get_template("serving.html.jinja").render(
        name=name, md5=md5, model=model.spec.model.name, classes=model.spec.classes, image=image, explained=explained
    )  # fmt: skip

    @app.post("/predict")
    async def predict(
        request: Request, top: Annotated[int, Query(ge=1)] = 5, explain: bool = False, coverage: str | None = None
    ) -> Response:
        run = asyncio.get_running_loop().run_in_executor
        if explain and not explained:
            raise HTTPException(400, f"{NO_MAP}: leave out explain")
        try:
            least = None if coverage is None else model.least(coverage)
            pixels = await run(decoders, prepare, await received(request, most_bytes), image)
        except UserError as fault:
            raise HTTPException(400, str(fault)) from None
        except Unreadable as reason:
            raise HTTPException(400, f"the photo cannot be read: {reason}") from None
        (probabilities,) = await run(computer, model.probabilities, pixels[np.newaxis])
        found = row("", probabilities, model.spec.classes, top, least)
        shares = {label: round(share, 6) for label, share in found.classes}
        best = found.classes[0][0]
        answer: dict[str, Any] = {"class": best, "probability": shares[best], "probabilities": shares, "model": about}
        if found.possible is not None:
            answer["possible"] = found.possible
        if explain:
            answer["explanation"] = await run(computer, explanation, model, pixels, probabilities)
        return JSONResponse(answer)

    @app.get("/")
    async def index() -> Response:
        return HTMLResponse(page, headers={"Content-Security-Policy": _POLICY})

    @app.get("/healthz")
    async def healthz() -> Response:
        return JSONResponse({"status": "ok", "model": about})

    return app


async def received(request: Request, most_bytes: int) -> bytes:
    """Return the body. Raises `HTTPException` if too much comes, or not all of it in time."""
    content = bytearray()
    try:
        async with asyncio.timeout(SECONDS):
            async for part in request.stream():
                content += part
                if len(content) > most_bytes:
                    most = f"{most_bytes / 2**20:g} MiB"
                    raise HTTPException(413, f"the request has more than {most}, which is the most (--max-mib)")
    except TimeoutError:
        raise HTTPException(408, f"the photo did not come within {SECONDS:g} seconds") from None
    except ClientDisconnect:
        raise HTTPException(400, "the request ended before its body") from None
    return bytes(content)


def explanation(model: Model, pixels: Pixels, probabilities: NDArray[np.float32]) -> dict[str, Any]:
    """Return pictures of what the most probable class rests on, as data URLs."""
    label = int(probabilities.argmax())
    found: dict[str, Any] = {"class": model.spec.classes[label]}
    for name, picture in {"seen": pixels, "map": laid_over(pixels, grad_cam(model, pixels, label))}.items():
        buffer = io.BytesIO()
        to_image(picture).save(buffer, "png")
        found[name] = f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return found
