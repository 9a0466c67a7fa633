# Serve the model: docker build -t classifier . && docker run --publish 127.0.0.1:8000:8000 --read-only --tmpfs /tmp classifier
# The image holds models/model.safetensors as it is now: run make repro, or dvc pull, first.
FROM python:3.13-slim

# pip installs uv alone, from its lines of the lock, with their hashes; uv then installs everything else.
WORKDIR /app
COPY requirements.lock ./
RUN sed -n '/^uv==/,/[^\\]$/p' requirements.lock > /tmp/uv.lock \
    && pip install --no-cache-dir --require-hashes --requirement /tmp/uv.lock \
    && uv pip install --system --no-cache --require-hashes --compile-bytecode --requirement requirements.lock

COPY src src
COPY models/model.safetensors models/

USER 65534:65534
ENV HOME=/tmp PYTHONUNBUFFERED=1
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
CMD ["python", "-m", "src.serve", "--host", "0.0.0.0"]
