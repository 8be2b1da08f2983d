# Builds the images:
#
#   docker buildx bake                                          for this machine, like `docker compose build`
#   docker buildx bake minimal                                  the same without a shell, tagged `...-minimal`
#   REGISTRY=registry.example/distq/ docker buildx bake release --push
#                                                               for amd64 and arm64, with SBOM and provenance
#
# The second needs a builder for several platforms (`docker buildx create --use`) and a registry. A base image of
# your own: BASE, BUILD_BASE. A package index of your own, also behind a private CA: docs/how-to/private-registries.md.
variable "VERSION" {
  default = "0.1.0"
}

variable "REGISTRY" {
  default = ""
}

variable "BASE" {
  default = "python:3.15-slim-trixie"
}

variable "BUILD_BASE" {
  default = BASE
}

group "default" {
  targets = ["master", "master-postgresql", "worker"]
}

group "minimal" {
  targets = ["master-minimal", "master-postgresql-minimal", "worker-minimal"]
}

group "release" {
  targets = [
    "release-master", "release-master-postgresql", "release-worker",
    "release-master-minimal", "release-master-postgresql-minimal", "release-worker-minimal",
  ]
}

target "image" {
  name       = "${part}${suffix}"
  matrix     = { part = ["master", "master-postgresql", "worker"], suffix = ["", "-minimal"] }
  context    = "."
  dockerfile = "images/Dockerfile"
  target     = part
  args       = { BASE = BASE, BUILD_BASE = BUILD_BASE, VERSION = VERSION, VARIANT = trimprefix(suffix, "-") }
  tags       = ["${REGISTRY}distq-${part}:${VERSION}${suffix}"]
}

target "release" {
  name      = "release-${part}${suffix}"
  matrix    = { part = ["master", "master-postgresql", "worker"], suffix = ["", "-minimal"] }
  inherits  = ["${part}${suffix}"]
  platforms = ["linux/amd64", "linux/arm64"]
  attest    = ["type=sbom", "type=provenance,mode=max"]
}
