# The database of tests/kit/cluster/test_several_masters.py: Debian's PostgreSQL, as the user of distq's containers.
ARG BASE=python:3.15-slim-trixie
FROM ${BASE}
# hadolint ignore=DL3008
RUN apt-get update -qq \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 65532 distq
