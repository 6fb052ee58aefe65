# One image for every command: docker run IMAGE run | api | migrate | maintain | ...
ARG PYTHON=3.12

FROM python:${PYTHON}-slim-bookworm AS build
WORKDIR /src
# The locked dependencies first: they change less often than the code.
COPY requirements/base.txt requirements/base.txt
RUN python -m venv /opt/tidegate \
 && /opt/tidegate/bin/pip install --no-cache-dir --require-hashes -r requirements/base.txt
COPY pyproject.toml README.md LICENSE ./
COPY api api
COPY dataflows dataflows
COPY migrations migrations
COPY models models
COPY tidegate tidegate
RUN /opt/tidegate/bin/pip install --no-cache-dir --no-deps --no-build-isolation . \
 && /opt/tidegate/bin/python -m compileall -q /opt/tidegate/lib \
 && /opt/tidegate/bin/pip uninstall --yes pip

FROM python:${PYTHON}-slim-bookworm
LABEL org.opencontainers.image.title="Tidegate" \
      org.opencontainers.image.description="Real-time payment-fraud detection that learns online" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 10001 tidegate \
 && useradd --uid 10001 --gid 10001 --home-dir /var/lib/tidegate --create-home --shell /usr/sbin/nologin tidegate
COPY --from=build /opt/tidegate /opt/tidegate
# Nothing is written but in the data directory and /tmp, so the root file system may be read-only.
ENV PATH=/opt/tidegate/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    TIDEGATE_DATA_DIR=/var/lib/tidegate \
    TIDEGATE_LOG_FORMAT=json
WORKDIR /var/lib/tidegate
# By number: a cluster that refuses root cannot look a name up.
USER 10001:10001
EXPOSE 8000 9100
ENTRYPOINT ["tidegate"]
CMD ["--help"]
