{{/* Keys with names and roles, which only the master mounts. */}}
{{- define "distq.keysMount" -}}
{{- if .Values.keys.existingSecret }}
- {name: keys, mountPath: /etc/distq-keys, readOnly: true}
{{- end }}
{{- end -}}

{{- define "distq.keysEnv" -}}
{{- if .Values.keys.existingSecret -}}
DISTQ_KEYS_PATH: /etc/distq-keys
{{- end -}}
{{- end -}}

{{- define "distq.keysVolume" -}}
{{- with .Values.keys.existingSecret }}
- {name: keys, secret: {secretName: {{ . | quote }}, defaultMode: 0440}}
{{- end }}
{{- end -}}

{{/* A checksum that changes with the key of the workers. */}}
{{- define "distq.workerKeyChecksum" -}}
{{- if .Values.keys.workerSecret -}}
{{- $secret := lookup "v1" "Secret" .Release.Namespace .Values.keys.workerSecret | default dict -}}
{{- dig "metadata" "resourceVersion" "" $secret | sha256sum | trunc 16 -}}
{{- else -}}
{{- include "distq.authkeyChecksum" . -}}
{{- end -}}
{{- end -}}

{{- define "distq.checks.keys" -}}
{{- if and .Values.keys.workerSecret (not .Values.keys.existingSecret) -}}
{{- fail "keys.workerSecret needs the master to know the key: set keys.existingSecret to a Secret with the lines of all keys." -}}
{{- end -}}
{{- end -}}
