# Hark in a container: docker build -t hark . && docker run -p 50051:50051 -p 8080:8080 -v hark-data:/var/lib/hark hark
# Flags go at the end, as in: docker run ... hark --workers 8

# The Python the tests run with. Building and running share one base, so that the environment can be copied as it is.
FROM python:3.11-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/hark/.venv
ENV PATH=/opt/hark/.venv/bin:$PATH
WORKDIR /opt/hark
COPY . .
# The same two steps as in the Makefile, without what only generating and testing need.
RUN pip install --constraint constraints.txt setuptools \
 && pip install --no-build-isolation --constraint constraints.txt --editable . \
 && python -m compileall -q farm gateway supervisor.py

FROM python:3.11-slim-bookworm
RUN groupadd --system --gid 10001 hark \
 && useradd --system --uid 10001 --gid hark --home-dir /var/lib/hark --no-create-home hark \
 && install --directory --owner=hark --group=hark --mode=0700 /var/lib/hark
COPY --from=build /opt/hark /opt/hark
ENV PATH=/opt/hark/.venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HARK_DATA_DIR=/var/lib/hark
WORKDIR /opt/hark
USER hark
VOLUME /var/lib/hark
EXPOSE 50051 8080
# Inside a container loopback reaches nobody; who may reach the published ports is decided where they are published.
ENTRYPOINT ["python", "supervisor.py", "--host", "0.0.0.0"]
# The slim image has no curl. http.client takes no notice of a proxy in the environment, urllib would.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
  CMD ["python", "-c", "import http.client as h; c = h.HTTPConnection('127.0.0.1', 8080, timeout=4); c.request('GET', '/ready'); raise SystemExit(c.getresponse().status != 200)"]
