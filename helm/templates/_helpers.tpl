{{/*
The first part of every object's name. It is short enough to be followed by a pool's name and a pod's hash. Helm allows
release names such as `my.release` and `123`, but a Service's name has no dot and begins with a letter.
*/}}
{{- define "distq.fullname" -}}
{{- $release := .Release.Name | replace "." "-" -}}
{{- $name := .Values.fullnameOverride -}}
{{- if not $name -}}
{{- $name = contains .Chart.Name $release | ternary $release (printf "%s-%s" ($release | trunc 24 | trimAll "-") .Chart.Name) -}}
{{- end -}}
{{- if not (regexMatch "^[a-z]" $name) }}{{ $name = printf "%s-%s" .Chart.Name (trimSuffix (printf "-%s" .Chart.Name) $name) }}{{ end -}}
{{- $name | trunc 30 | trimAll "-" -}}
{{- end -}}

{{/* An integer as text. Helm reads numbers of values files as floating point, and would print a million as 1e+06. */}}
{{- define "distq.whole" -}}
{{ printf "%.0f" (float64 .) }}
{{- end -}}

{{- define "distq.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- define "distq.labels" -}}
{{ include "distq.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | quote }}
{{- end -}}

{{/* The image of a component: (dict "root" $ "image" .Values.master.image) */}}
{{- define "distq.image" -}}
{{- $common := list (.root.Values.image.tag | default .root.Chart.AppVersion) .root.Values.image.variant | compact | join "-" -}}
{{- $tag := .image.tag | default $common -}}
{{- $registry := .root.Values.image.registry | default (.root.Values.global | default dict).imageRegistry -}}
{{- $repository := list $registry .image.repository | compact | join "/" -}}
{{- if .image.digest }}{{ printf "%s@%s" $repository .image.digest }}{{ else }}{{ printf "%s:%s" $repository $tag }}{{ end -}}
{{- end -}}

{{/* The values of a pool, merged over workerDefaults, as YAML: (dict "root" $ "pool" $values) */}}
{{- define "distq.pool" -}}
{{- mergeOverwrite (deepCopy .root.Values.workerDefaults) (.pool | default dict) | toYaml -}}
{{- end -}}

{{/* The labels that select the pods of a component: (dict "root" $ "component" "worker" "pool" $name) */}}
{{- define "distq.podSelector" -}}
{{ include "distq.selector" .root }}
app.kubernetes.io/component: {{ .component }}
{{- with .pool }}
distq/pool: {{ . | quote }}
{{- end }}
{{- end -}}

{{/* Not empty if a database is the store. */}}
{{- define "distq.database" -}}
{{- with .Values.master.store }}{{ if or .url .existingSecret }}yes{{ end }}{{ end -}}
{{- end -}}

{{/* The kind of the object that creates the master's pods, as kubectl writes it. */}}
{{- define "distq.masterKind" -}}
{{ ternary "deployment" "statefulset" (ne (include "distq.database" .) "") }}
{{- end -}}

{{/* The master's image values, with the repository that has what the store needs. */}}
{{- define "distq.masterImage" -}}
{{- $default := ternary "distq-master-postgresql" "distq-master" (ne (include "distq.database" .) "") -}}
{{ merge (dict "repository" (.Values.master.image.repository | default $default)) .Values.master.image | toYaml }}
{{- end -}}

{{/* Environment variables of the master that name the database. */}}
{{- define "distq.storeEnv" -}}
{{- $store := .Values.master.store -}}
{{- if $store.url }}
DISTQ_STORE: {{ $store.url | quote }}
{{- if $store.existingSecret }}
DISTQ_STORE_PASSWORD_FILE: /etc/distq-store/password
{{- end }}
{{- else }}
DISTQ_STORE: {valueFrom: {secretKeyRef: {name: {{ $store.existingSecret | quote }}, key: {{ $store.urlKey | quote }}}}}
{{- end }}
# The list of variables is sorted, and Kubernetes replaces only variables that come before.
ADDRESS_OF_POD: {valueFrom: {fieldRef: {fieldPath: status.podIP}}}
DISTQ_ADVERTISE: $(ADDRESS_OF_POD):9000
{{- end -}}

{{/* The master's values for scheduling; several masters are kept apart unless a value says otherwise. */}}
{{- define "distq.masterScheduling" -}}
{{- $master := deepCopy .Values.master -}}
{{- if gt (int (include "distq.whole" $master.replicas)) 1 -}}
{{- if not $master.topologySpreadConstraints -}}
{{- $_ := set $master "topologySpreadConstraints" (list (dict "maxSkew" 1 "topologyKey" "topology.kubernetes.io/zone" "whenUnsatisfiable" "ScheduleAnyway")) -}}
{{- end -}}
{{- if not $master.affinity -}}
{{- $labels := include "distq.podSelector" (dict "root" . "component" "master") | fromYaml -}}
{{- $term := dict "topologyKey" "kubernetes.io/hostname" "labelSelector" (dict "matchLabels" $labels) -}}
{{- $preferred := list (dict "weight" 100 "podAffinityTerm" $term) -}}
{{- $_ := set $master "affinity" (dict "podAntiAffinity" (dict "preferredDuringSchedulingIgnoredDuringExecution" $preferred)) -}}
{{- end -}}
{{- end -}}
{{ pick $master "hostUsers" "priorityClassName" "topologySpreadConstraints" "nodeSelector" "tolerations" "affinity" | toYaml }}
{{- end -}}

{{/* The master's address for workers and clients in this namespace. */}}
{{- define "distq.address" -}}
{{ include "distq.fullname" . }}-master:9000
{{- end -}}

{{/* The pod's grace period: the drain, and 15 seconds for giving tasks back and closing the connection. */}}
{{- define "distq.grace" -}}
{{ add (int64 (include "distq.whole" .drainSeconds)) 15 }}
{{- end -}}

{{/*
Environment variables, by name: (dict "ours" (dict …) "theirs" .Values.master.env). The user's take precedence over the
chart's, so no name appears twice; null removes a variable. Integers are written without a decimal point.
*/}}
{{- define "distq.env" -}}
{{- $env := deepCopy .ours -}}
{{- range $name, $value := .theirs }}{{ $_ := set $env $name $value }}{{ end -}}
{{- range $name, $value := $env }}
{{- if kindIs "map" $value }}
- name: {{ $name | quote }}
  {{- toYaml $value | nindent 2 }}
{{- else if and (kindIs "float64" $value) (eq (floor $value) $value) }}
- name: {{ $name | quote }}
  value: {{ include "distq.whole" $value | quote }}
{{- else if not (kindIs "invalid" $value) }}
- name: {{ $name | quote }}
  value: {{ $value | toString | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{/* The part of the pod spec that all pods share, without containers, volumes and grace period. */}}
{{- define "distq.pod" -}}
automountServiceAccountToken: false
# Otherwise the Service distq-master adds variables with the prefix DISTQ_ to every pod.
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

{{/* Scheduling of the pods: (dict "values" $pool "selector" …) */}}
{{- define "distq.scheduling" -}}
{{- if kindIs "bool" .values.hostUsers }}
hostUsers: {{ .values.hostUsers }}
{{- end }}
{{- with .values.priorityClassName }}
priorityClassName: {{ . | quote }}
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
The user's init containers and native sidecars (init containers with restartPolicy Always). Without a securityContext of
their own they get the chart's, because Pod Security `restricted` requires one of every container.
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

{{/* Volumes of every pod: (dict "root" $ "tmpSize" … "secret" … "key" …); without "secret" it has the authkey. Kubernetes evicts a pod that writes more than tmpSize to /tmp. */}}
{{- define "distq.volumes" -}}
- name: authkey
  secret:
    secretName: {{ .secret | default (include "distq.authkeySecret" .root) | quote }}
    defaultMode: 0440
    items: [{key: {{ ternary .key .root.Values.authkey.key (not (empty .secret)) | quote }}, path: authkey}]
- name: tmp
  emptyDir: {{ if .tmpSize }}{sizeLimit: {{ .tmpSize | quote }}}{{ else }}{}{{ end }}
{{- end -}}

{{/*
Liveness depends on the process only; a worker's readiness also depends on its connection to the master. The kubelet
does not check certificates. (the component's values, with "https" true if it serves HTTP with TLS)
*/}}
{{- define "distq.ourProbes" -}}
{{- $scheme := .https | ternary ", scheme: HTTPS" "" -}}
startup: {httpGet: {path: /livez, port: http{{ $scheme }}}, periodSeconds: 1, failureThreshold: 60}
liveness: {httpGet: {path: /livez, port: http{{ $scheme }}}, periodSeconds: 10, timeoutSeconds: 5}
readiness: {httpGet: {path: /readyz, port: http{{ $scheme }}}, periodSeconds: 5, timeoutSeconds: 3}
{{- end -}}

{{- define "distq.probes" -}}
{{- range $name, $probe := mergeOverwrite (include "distq.ourProbes" . | fromYaml) (deepCopy .probes) }}
{{ $name }}Probe: {{ toYaml $probe | nindent 2 }}
{{- end }}
{{- with .resizePolicy }}
resizePolicy: {{ toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Not empty if the chart must allow egress of its pods: a value asks for it, or a policy of the namespace denies egress. */}}
{{- define "distq.egress" -}}
{{- $asked := (.Values.networkPolicy.egress | default dict).enabled -}}
{{- if kindIs "bool" $asked -}}
{{- if $asked }}asked{{ end -}}
{{- else -}}
{{- range (lookup "networking.k8s.io/v1" "NetworkPolicy" .Release.Namespace "" | default dict).items -}}
{{- if and (empty .spec.podSelector) (has "Egress" .spec.policyTypes) }}denied{{ end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/*
The number of pods that a running pool keeps when an autoscaler is enabled; empty otherwise. Without it, the Deployment
would have one pod until the autoscaler acts. Later upgrades write the number that the cluster then has, because the field
must stay in the manifest. (dict "root" $ "name" … "pool" $pool)
*/}}
{{- define "distq.replicasKept" -}}
{{- $live := lookup "apps/v1" "Deployment" .root.Release.Namespace .name | default dict -}}
{{- if $live -}}
{{- $scaler := list "autoscaling/v2" "HorizontalPodAutoscaler" -}}
{{- if .pool.keda.enabled }}{{ $scaler = list "keda.sh/v1alpha1" "ScaledObject" }}{{ end -}}
{{- $kept := dig "metadata" "annotations" "distq/replicas-kept" "" $live -}}
{{- if or $kept (not (lookup (first $scaler) (last $scaler) .root.Release.Namespace .name)) -}}
{{- include "distq.whole" (dig "spec" "replicas" 1 $live) -}}
{{- end -}}
{{- end -}}
{{- end -}}
