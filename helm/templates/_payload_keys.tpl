{{/* The keys with which workers and the chart's tests sign and encrypt payloads; the master gets none of them. */}}
{{- define "distq.payloadKeysEnv" -}}
{{- with .Values.payloadKeys }}
{{- if and .existingSecret .signingKey }}
DISTQ_SIGNING_KEY_FILE: /etc/distq-payload-keys/signing
{{- end }}
{{- if and .existingSecret .encryptionKey }}
DISTQ_ENCRYPTION_KEY_FILE: /etc/distq-payload-keys/encryption
{{- end }}
{{- end }}
{{- end -}}

{{- define "distq.payloadKeysMount" -}}
{{- if .Values.payloadKeys.existingSecret }}
- {name: payload-keys, mountPath: /etc/distq-payload-keys, readOnly: true}
{{- end }}
{{- end -}}

{{- define "distq.payloadKeysVolume" -}}
{{- with .Values.payloadKeys }}
{{- if .existingSecret }}
- name: payload-keys
  secret:
    secretName: {{ .existingSecret | quote }}
    defaultMode: 0440
    items:
      {{- with .signingKey }}
      - {key: {{ . | quote }}, path: signing}
      {{- end }}
      {{- with .encryptionKey }}
      - {key: {{ . | quote }}, path: encryption}
      {{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "distq.checks.payloadKeys" -}}
{{- with .Values.payloadKeys }}
{{- if and .existingSecret (not .signingKey) (not .encryptionKey) -}}
{{- fail "payloadKeys.existingSecret has no entry to use: set payloadKeys.signingKey, payloadKeys.encryptionKey, or both." -}}
{{- end -}}
{{- end -}}
{{- end -}}
