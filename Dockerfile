# Any image with python3 (3.11 or newer) and its venv module will do: --build-arg BASE=...
ARG BASE=python:3.13-slim

FROM ${BASE} AS build
WORKDIR /src
# Wheels of the dependencies, if there are any in wheels/, make a build without a network possible.
COPY LICENSE wheel[s] /wheels/
COPY pyproject.toml README.md LICENSE ./
COPY registry registry
COPY storage storage
COPY oci_registry_testing oci_registry_testing
RUN python3 -m venv /opt/registry \
 && if ls /wheels/*.whl >/dev/null 2>&1; then offline="--no-index --find-links=/wheels"; fi \
 && /opt/registry/bin/python3 -m pip install --no-cache-dir --disable-pip-version-check $offline '.[tls,oidc,cache]' \
 && /opt/registry/bin/python3 -m pip uninstall --yes --quiet pip setuptools
# What a configuration file decides must be able to replace this choice, so it is a file and no variable.
RUN mkdir -p /etc/registry /var/lib/registry \
 && printf '%s\n' '# Anyone who reaches the port may push until there is an account, as users of such an image expect.' \
    'anonymous = "unclaimed"' \
    > /etc/registry/registry.toml

FROM ${BASE}
LABEL org.opencontainers.image.title="oci-registry" \
      org.opencontainers.image.description="A minimal, durable container registry" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/registry /opt/registry
COPY --from=build /etc/registry /etc/registry
COPY --from=build --chown=10001:10001 /var/lib/registry /var/lib/registry
# The names of the distribution image, so that those who know only these can override them, and ours still win.
ENV PATH=/opt/registry/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    REGISTRY_CONFIG=/etc/registry/registry.toml \
    REGISTRY_HTTP_ADDR=0.0.0.0:5000 \
    REGISTRY_STORAGE_FILESYSTEM_ROOTDIRECTORY=/var/lib/registry
USER 10001:10001
WORKDIR /var/lib/registry
VOLUME /var/lib/registry
EXPOSE 5000
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s --retries=3 CMD ["registry", "health"]
ENTRYPOINT ["registry"]
CMD ["serve"]
