# shellcheck shell=sh
# The steps of images/Dockerfile that download packages source this file. It selects your own index if build secrets
# name one. A secret is a file that exists during one step and is in no layer: docs/how-to/private-registries.md
if [ -s /run/secrets/index_url ]; then
    UV_DEFAULT_INDEX=$(cat /run/secrets/index_url)
    PIP_INDEX_URL=$UV_DEFAULT_INDEX
    export UV_DEFAULT_INDEX PIP_INDEX_URL
fi
if [ -s /run/secrets/index_ca ]; then
    export SSL_CERT_FILE=/run/secrets/index_ca PIP_CERT=/run/secrets/index_ca
fi
