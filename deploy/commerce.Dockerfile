# The merchant's side: commerce_api, mcp_server, offer_engine and the shared leaves. It never holds a card.
# Build the wheel first (deploy/README.md), then: docker build -f deploy/commerce.Dockerfile -t cordon-commerce .
# Give PYTHON_IMAGE with its digest to make the image from known bytes.
ARG PYTHON_IMAGE=python:3.11-slim

FROM ${PYTHON_IMAGE} AS build
COPY deploy/locks/commerce.txt /build/lock.txt
RUN python -m venv --without-pip /opt/cordon \
 && python -m pip --python /opt/cordon install --no-cache-dir --require-hashes --only-binary :all: -r /build/lock.txt
COPY dist/cordon-*+commerce-*.whl /build/
RUN python -m pip --python /opt/cordon install --no-cache-dir --no-index --no-deps /build/*.whl

FROM ${PYTHON_IMAGE}
RUN python -m pip uninstall --yes pip \
 && groupadd --gid 10001 cordon \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin cordon \
 && install -d -m 0700 -o 10001 -g 10001 /var/lib/cordon /var/lib/cordon/log /var/lib/cordon/tls
COPY --from=build /opt/cordon /opt/cordon
ENV PATH=/opt/cordon/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 CORDON_ENVIRONMENT=production
USER 10001:10001
WORKDIR /
# The build stops here if the zone's code could be imported.
RUN ["python", "-I", "-c", "import sys; from importlib.util import find_spec; sys.exit(find_spec('vault_zone') is not None)"]
EXPOSE 8704 8705
ENTRYPOINT ["cordon"]
