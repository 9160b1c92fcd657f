# The cardholder-data environment: vault_zone, tokenization, audit, their locked dependencies, nothing else.
# Build the wheel first (deploy/README.md), then: docker build -f deploy/zone.Dockerfile -t cordon-zone .
# --build-arg ZONE_EXTRAS="stripe adyen" adds what those processors need, vault or pkcs11 what those key providers need.
# Give PYTHON_IMAGE with its digest to make the image from known bytes.
ARG PYTHON_IMAGE=python:3.11-slim

FROM ${PYTHON_IMAGE} AS build
ARG ZONE_EXTRAS=""
COPY deploy/locks/zone*.txt /build/
RUN python -m venv --without-pip /opt/cordon \
 && for extra in "" ${ZONE_EXTRAS}; do \
      python -m pip --python /opt/cordon install --no-cache-dir --require-hashes --only-binary :all: -r "/build/zone${extra:+-$extra}.txt" || exit 1; \
    done
COPY dist/cordon-*+zone-*.whl /build/
RUN python -m pip --python /opt/cordon install --no-cache-dir --no-index --no-deps /build/*.whl

FROM ${PYTHON_IMAGE}
RUN python -m pip uninstall --yes pip \
 && groupadd --gid 10001 cordon \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin cordon \
 && install -d -m 0700 -o 10001 -g 10001 /var/lib/cordon /var/lib/cordon/authority /var/lib/cordon/log /var/lib/cordon-handover
COPY --from=build /opt/cordon /opt/cordon
ENV PATH=/opt/cordon/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 CORDON_ENVIRONMENT=production
USER 10001:10001
WORKDIR /
# The build stops here if anything of the commerce side, or a model SDK, could be imported beside the cards.
RUN ["python", "-I", "-c", "import sys; from importlib.util import find_spec; sys.exit(any(map(find_spec, ['commerce_api', 'mcp_server', 'offer_engine', 'compliance_docs', 'mcp', 'anthropic', 'openai', 'litellm', 'transformers', 'torch'])))"]
EXPOSE 8701 8702
ENTRYPOINT ["vault-zone"]
