{{/* The Secret with the master's certificate, its key and the CA; empty without TLS. */}}
{{- define "distq.tlsSecret" -}}
{{- if .Values.tls.certManager.enabled }}{{ include "distq.fullname" . }}-master-tls
{{- else }}{{ .Values.tls.existingSecret }}{{ end -}}
{{- end -}}

{{/* The Secret with the certificate of workers and of the chart's tests; empty if they have none. */}}
{{- define "distq.tlsClientSecret" -}}
{{- if .Values.tls.clientSecret }}{{ .Values.tls.clientSecret }}
{{- else if and .Values.tls.certManager.enabled .Values.tls.verifyClients }}{{ include "distq.fullname" . }}-client-tls
{{- end -}}
{{- end -}}

{{- define "distq.tlsMount" -}}
{{- if include "distq.tlsSecret" . }}
- {name: tls, mountPath: /etc/distq-tls, readOnly: true}
{{- end }}
{{- end -}}

{{/* The settings of a master, as YAML. Its own CA is for commands in its pod, and for the certificates of clients. */}}
{{- define "distq.tlsMasterEnv" -}}
{{- if include "distq.tlsSecret" . -}}
DISTQ_TLS_CERT: /etc/distq-tls/tls.crt
DISTQ_TLS_KEY: /etc/distq-tls/tls.key
DISTQ_TLS_CA: /etc/distq-tls/ca.crt
DISTQ_TLS_VERIFY_CLIENTS: {{ .Values.tls.verifyClients | ternary "1" "0" | quote }}
DISTQ_HTTP_TLS: {{ .Values.tls.http | ternary "1" "0" | quote }}
{{- end -}}
{{- end -}}

{{- define "distq.tlsMasterVolume" -}}
{{- with include "distq.tlsSecret" . }}
- {name: tls, secret: {secretName: {{ . | quote }}, defaultMode: 0440}}
{{- end }}
{{- end -}}

{{/* The settings of workers and clients, as YAML. */}}
{{- define "distq.tlsClientEnv" -}}
{{- if include "distq.tlsSecret" . -}}
DISTQ_TLS_CA: /etc/distq-tls/ca.crt
{{- if include "distq.database" . }}
# Each master has the certificate of the Service, also at its pod's address, to which clients connect after a standby.
DISTQ_TLS_SERVER_NAME: {{ include "distq.fullname" . }}-master
{{- end }}
{{- if include "distq.tlsClientSecret" . }}
DISTQ_TLS_CERT: /etc/distq-tls/tls.crt
DISTQ_TLS_KEY: /etc/distq-tls/tls.key
DISTQ_HTTP_TLS: "0"
{{- end }}
{{- end -}}
{{- end -}}

{{/* The CA from the master's Secret, without the master's key, and the client's certificate. */}}
{{- define "distq.tlsClientVolume" -}}
{{- with include "distq.tlsSecret" . }}
- name: tls
  projected:
    defaultMode: 0440
    sources:
      - secret: {name: {{ . | quote }}, items: [{key: ca.crt, path: ca.crt}]}
      {{- with include "distq.tlsClientSecret" $ }}
      - secret: {name: {{ . | quote }}, items: [{key: tls.crt, path: tls.crt}, {key: tls.key, path: tls.key}]}
      {{- end }}
{{- end }}
{{- end -}}

{{- define "distq.checks.tls" -}}
{{- $tls := .Values.tls -}}
{{- if and $tls.certManager.enabled $tls.existingSecret -}}
{{- fail "tls.existingSecret and tls.certManager.enabled exclude each other: set only one of them." -}}
{{- end -}}
{{- if and $tls.certManager.enabled (not $tls.certManager.issuer.name) -}}
{{- fail "tls.certManager.enabled needs the name of an issuer: set tls.certManager.issuer.name." -}}
{{- end -}}
{{- if and (or $tls.verifyClients $tls.clientSecret $tls.http) (not (include "distq.tlsSecret" .)) -}}
{{- fail "tls.verifyClients, tls.clientSecret and tls.http need a certificate of the master: set tls.existingSecret or tls.certManager.enabled." -}}
{{- end -}}
{{- if and $tls.verifyClients (not (include "distq.tlsClientSecret" .)) -}}
{{- fail "tls.verifyClients needs a certificate for the workers: set tls.clientSecret to a Secret with tls.crt and tls.key." -}}
{{- end -}}
{{- end -}}
