{{/*
The queues that pools with workers serve, each followed by a comma; `*,` stands for a pool that serves all queues.
*/}}
{{- define "distq.served" -}}
{{- range $name, $values := .Values.workerPools -}}
{{- $pool := include "distq.pool" (dict "root" $ "pool" $values) | fromYaml -}}
{{- if or $pool.replicas $pool.hpa.enabled $pool.keda.enabled }}{{ range $pool.queues | default (list "*") }}{{ . }},{{ end }}{{ end -}}
{{- end -}}
{{- end -}}

{{/* The pod of a test: (dict "root" $ "name" … "program" … "arguments" (list …)) */}}
{{- define "distq.test" -}}
apiVersion: v1
kind: Pod
metadata:
  name: {{ include "distq.fullname" .root }}-test-{{ .name }}
  labels:
    {{- include "distq.labels" .root | nindent 4 }}
    app.kubernetes.io/component: test
    distq/client: "true"
  annotations:
    helm.sh/hook: test
    helm.sh/hook-delete-policy: before-hook-creation
spec:
  {{- include "distq.pod" .root | nindent 2 }}
  restartPolicy: Never
  activeDeadlineSeconds: 120
  containers:
    - name: test
      image: {{ include "distq.image" (dict "root" .root "image" .root.Values.workerDefaults.image) | quote }}
      imagePullPolicy: {{ .root.Values.image.pullPolicy }}
      command: [python3, -c]
      args: {{ prepend .arguments (.root.Files.Get .program) | toYaml | nindent 8 }}
      env:
        - {name: DISTQ_ADDRESS, value: {{ include "distq.address" .root | quote }}}
        - {name: DISTQ_AUTHKEY_FILE, value: /etc/distq/authkey}
        {{- range $name, $value := merge (include "distq.tlsClientEnv" .root | fromYaml) (include "distq.payloadKeysEnv" .root | fromYaml) }}
        - {name: {{ $name }}, value: {{ $value | quote }}}
        {{- end }}
      {{- include "distq.containerSecurity" .root | nindent 6 }}
      resources:
        requests: {cpu: 50m, memory: 64Mi}
      volumeMounts:
        {{- include "distq.volumeMounts" .root | nindent 8 }}
        {{- include "distq.tlsMount" .root | nindent 8 }}
        {{- include "distq.payloadKeysMount" .root | nindent 8 }}
  volumes:
    {{- include "distq.volumes" (dict "root" .root "tmpSize" "64Mi") | nindent 4 }}
    {{- include "distq.tlsClientVolume" .root | nindent 4 }}
    {{- include "distq.payloadKeysVolume" .root | nindent 4 }}
{{- end -}}
