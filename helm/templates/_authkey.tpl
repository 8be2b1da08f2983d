{{- define "distq.authkeySecret" -}}
{{- .Values.authkey.existingSecret | default (printf "%s-authkey" (include "distq.fullname" .)) -}}
{{- end -}}

{{/*
The generated key, in base64: the key of the previous release, or a new random one. One rendering generates it only once: a
second one for the checksum below would be another key, and the first upgrade would restart every pod.
*/}}
{{- define "distq.authkey" -}}
{{- if not (hasKey .Release "distqAuthkey") -}}
{{- $secret := lookup "v1" "Secret" .Release.Namespace (include "distq.authkeySecret" .) | default dict -}}
{{- $key := get ($secret.data | default dict) .Values.authkey.key | default (randAlphaNum 43 | b64enc) -}}
{{- $_ := set .Release "distqAuthkey" $key -}}
{{- end -}}
{{- .Release.distqAuthkey -}}
{{- end -}}

{{/*
A checksum that changes with the key, so that an upgrade after a key change restarts the pods. Of an existing Secret it
reveals only the resource version.
*/}}
{{- define "distq.authkeyChecksum" -}}
{{- if .Values.authkey.existingSecret -}}
{{- $secret := lookup "v1" "Secret" .Release.Namespace .Values.authkey.existingSecret | default dict -}}
{{- dig "metadata" "resourceVersion" "" $secret | sha256sum | trunc 16 -}}
{{- else -}}
{{- include "distq.authkey" . | sha256sum | trunc 16 -}}
{{- end -}}
{{- end -}}
