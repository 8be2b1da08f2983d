{{- define "distq.authkeySecret" -}}
{{- .Values.authkey.existingSecret | default (printf "%s-authkey" (include "distq.fullname" .)) -}}
{{- end -}}

{{/*
The generated key, in base64: the one of the last release, or a new one, drawn once for the whole rendering. Drawn
again for the checksum below it would be another key, and the first upgrade would restart every pod.
*/}}
{{- define "distq.authkey" -}}
{{- if not (hasKey .Release "distqAuthkey") -}}
{{- $secret := lookup "v1" "Secret" .Release.Namespace (include "distq.authkeySecret" .) | default dict -}}
{{- $key := get ($secret.data | default dict) .Values.authkey.key | default (randAlphaNum 43 | b64enc) -}}
{{- $_ := set .Release "distqAuthkey" $key -}}
{{- end -}}
{{- .Release.distqAuthkey -}}
{{- end -}}

{{/* Changes when the key does, so that an upgrade after a rotation restarts the pods. Tells nothing of a key of yours. */}}
{{- define "distq.authkeyChecksum" -}}
{{- if .Values.authkey.existingSecret -}}
{{- $secret := lookup "v1" "Secret" .Release.Namespace .Values.authkey.existingSecret | default dict -}}
{{- dig "metadata" "resourceVersion" "" $secret | sha256sum | trunc 16 -}}
{{- else -}}
{{- include "distq.authkey" . | sha256sum | trunc 16 -}}
{{- end -}}
{{- end -}}
