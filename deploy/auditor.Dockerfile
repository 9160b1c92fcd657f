# The auditors' tools: audit, compliance_docs, tokenization. Mount logs read-only; it needs no network and no key.
# Build the wheel first (deploy/README.md), then: docker build -f deploy/auditor.Dockerfile -t cordon-auditor .
# Give PYTHON_IMAGE with its digest to make the image from known bytes.
ARG PYTHON_IMAGE=python:3.11-slim

FROM ${PYTHON_IMAGE} AS build
COPY deploy/locks/auditor.txt /build/lock.txt
RUN python -m venv --without-pip /opt/cordon \
 && python -m pip --python /opt/cordon install --no-cache-dir --require-hashes --only-binary :all: -r /build/lock.txt
COPY dist/cordon-*+auditor-*.whl /build/
RUN python -m pip --python /opt/cordon install --no-cache-dir --no-index --no-deps /build/*.whl

FROM ${PYTHON_IMAGE}
RUN python -m pip uninstall --yes pip \
 && groupadd --gid 10001 cordon \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin cordon
COPY --from=build /opt/cordon /opt/cordon
ENV PATH=/opt/cordon/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /
# The build stops here if anything that serves commerce or cards could be imported.
RUN ["python", "-I", "-c", "import sys; from importlib.util import find_spec; sys.exit(any(map(find_spec, ['vault_zone', 'commerce_api', 'mcp_server', 'offer_engine'])))"]
ENTRYPOINT ["cordon-audit"]
