{{/* The first part of every object's name; short enough for a pool's name and a pod's hash behind it. */}}
{{- define "distq.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 30 | trimSuffix "-" -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 30 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" (.Release.Name | trunc 24 | trimSuffix "-") .Chart.Name -}}
{{- end -}}
{{- end -}}

{{- define "distq.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "distq.labels" -}}
{{ include "distq.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{/* The image of a component: (dict "root" $ "image" .Values.master.image) */}}
{{- define "distq.image" -}}
{{- $tag := .image.tag | default .root.Values.image.tag | default .root.Chart.AppVersion -}}
{{- $registry := .root.Values.image.registry | default (.root.Values.global | default dict).imageRegistry -}}
{{- $repository := list $registry .image.repository | compact | join "/" -}}
{{- if .image.digest }}{{ printf "%s@%s" $repository .image.digest }}{{ else }}{{ printf "%s:%s" $repository $tag }}{{ end -}}
{{- end -}}

{{/* A pool with what it has from the defaults, as YAML: (dict "root" $ "pool" $values) */}}
{{- define "distq.pool" -}}
{{- mergeOverwrite (deepCopy .root.Values.workerDefaults) (.pool | default dict) | toYaml -}}
{{- end -}}

{{/* The labels by which the pods of a component are chosen: (dict "root" $ "component" "worker" "pool" $name) */}}
{{- define "distq.podSelector" -}}
{{ include "distq.selector" .root }}
app.kubernetes.io/component: {{ .component }}
{{- with .pool }}
distq/pool: {{ . }}
{{- end }}
{{- end -}}

{{/* Where workers and clients in this namespace find the master. */}}
{{- define "distq.address" -}}
{{ include "distq.fullname" . }}-master:9000
{{- end -}}

{{/* The pod's grace period. The margin is for what follows the drain: handing back and saying goodbye. */}}
{{- define "distq.grace" -}}
{{ add (int .drainSeconds) 15 }}
{{- end -}}

{{/*
Environment, by name: (dict "ours" (dict …) "theirs" .Values.master.env). Theirs win, so no name is there twice;
null removes. Numbers of values files are floating point: whole ones are written as such.
*/}}
{{- define "distq.env" -}}
{{- $env := deepCopy .ours -}}
{{- range $name, $value := .theirs }}{{ $_ := set $env $name $value }}{{ end -}}
{{- range $name, $value := $env }}
{{- if kindIs "map" $value }}
- name: {{ $name }}
  {{- toYaml $value | nindent 2 }}
{{- else if and (kindIs "float64" $value) (eq (floor $value) $value) }}
- name: {{ $name }}
  value: {{ printf "%.0f" $value | quote }}
{{- else if not (kindIs "invalid" $value) }}
- name: {{ $name }}
  value: {{ $value | toString | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{/* What every pod has; its containers, volumes and grace follow. */}}
{{- define "distq.pod" -}}
automountServiceAccountToken: false
# The Service distq-master would put variables that begin with DISTQ_ into every pod.
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.image.pullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Where pods go: (dict "values" $pool "selector" …) */}}
{{- define "distq.scheduling" -}}
{{- if kindIs "bool" .values.hostUsers }}
hostUsers: {{ .values.hostUsers }}
{{- end }}
{{- with .values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .values.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- range . }}
  - {{ merge (deepCopy .) (dict "labelSelector" (dict "matchLabels" (fromYaml $.selector))) | toYaml | nindent 4 | trim }}
  {{- end }}
{{- end }}
{{- with .values }}
{{- with .nodeSelector }}
nodeSelector: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations: {{ toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity: {{ toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "distq.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end -}}

{{/*
Containers before ours, and beside it: a native sidecar is one that goes on. Without a securityContext of their own they
have ours, which Pod Security `restricted` wants of every container.
*/}}
{{- define "distq.initContainers" -}}
{{- $security := include "distq.containerSecurity" . | fromYaml -}}
{{- $sidecars := list -}}
{{- range .sidecars }}{{ $sidecars = append $sidecars (merge (deepCopy .) (dict "restartPolicy" "Always")) }}{{ end -}}
{{- with concat .initContainers $sidecars }}
initContainers:
  {{- range . }}
  - {{ mergeOverwrite (deepCopy $security) (deepCopy .) | toYaml | nindent 4 | trim }}
  {{- end }}
{{- end }}
{{- end -}}

{{- define "distq.volumeMounts" -}}
- {name: authkey, mountPath: /etc/distq, readOnly: true}
- {name: tmp, mountPath: /tmp}
{{- end -}}

{{- define "distq.volumes" -}}
- name: authkey
  secret:
    secretName: {{ include "distq.authkeySecret" . }}
    defaultMode: 0440
    items: [{key: {{ .Values.authkey.key | quote }}, path: authkey}]
- name: tmp
  emptyDir: {sizeLimit: 64Mi}
{{- end -}}

{{/* Liveness asks the process alone; readiness of a worker asks for its master too. */}}
{{- define "distq.ourProbes" -}}
startup: {httpGet: {path: /livez, port: http}, periodSeconds: 1, failureThreshold: 60}
liveness: {httpGet: {path: /livez, port: http}, periodSeconds: 10, timeoutSeconds: 5}
readiness: {httpGet: {path: /readyz, port: http}, periodSeconds: 5, timeoutSeconds: 3}
{{- end -}}

{{- define "distq.probes" -}}
{{- range $name, $probe := mergeOverwrite (include "distq.ourProbes" . | fromYaml) (deepCopy .probes) }}
{{ $name }}Probe: {{ toYaml $probe | nindent 2 }}
{{- end }}
{{- with .resizePolicy }}
resizePolicy: {{ toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
