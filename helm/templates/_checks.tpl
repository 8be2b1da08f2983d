{{/*
Checks of combinations of values that are each valid but contradict each other. Each error says what to do. checks.yaml
renders them first.
*/}}
{{- define "distq.checks" -}}
{{- include "distq.checks.gone" . -}}
{{- include "distq.checks.master" . -}}
{{- include "distq.checks.tls" . -}}
{{- include "distq.checks.keys" . -}}
{{- include "distq.checks.payloadKeys" . -}}
{{- include "distq.checks.settings" (dict "root" . "where" "master.env" "env" .Values.master.env) -}}
{{- $scaled := dict -}}
{{- range $name, $values := .Values.workerPools -}}
{{- $pool := include "distq.pool" (dict "root" $ "pool" $values) | fromYaml -}}
{{- $at := printf "workerPools.%s" $name -}}
{{- include "distq.checks.settings" (dict "root" $ "where" (printf "%s.env" $at) "env" $pool.env) -}}
{{- include "distq.checks.pool" (dict "root" $ "at" $at "pool" $pool) -}}
{{- if $pool.keda.enabled -}}
{{- include "distq.checks.kedaReaches" (dict "root" $ "at" $at "pool" $pool) -}}
{{- range $queue := $pool.queues | default (list "*") -}}
{{- range $other, $theirs := $scaled -}}
{{- if or (eq $queue "*") (has $queue $theirs) (has "*" $theirs) -}}
{{- fail (printf "workerPools.%s and workerPools.%s are both scaled by KEDA for the queue %s: its tasks would be counted twice. Set `queues` so that no two pools share one." $other $name (ternary (first $theirs) $queue (eq $queue "*"))) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $_ := set $scaled $name ($pool.queues | default (list "*")) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Values of other charts and of earlier versions: the error names the value to use. */}}
{{- define "distq.checks.gone" -}}
{{- range $name, $instead := dict
  "replicaCount" "workerDefaults.replicas (of every pool) or workerPools.NAME.replicas"
  "workers" "workerPools, a map of pools by name"
  "resources" "master.resources and workerDefaults.resources"
  "env" "master.env and workerDefaults.env"
  "autoscaling" "workerDefaults.hpa or workerDefaults.keda"
-}}
{{- if hasKey $.Values $name -}}
{{- fail (printf "There is no value `%s`. Use %s." $name $instead) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "distq.checks.master" -}}
{{- $database := include "distq.database" . -}}
{{- $replicas := int (include "distq.whole" .Values.master.replicas) -}}
{{- if and (gt $replicas 1) (not $database) -}}
{{- fail (printf "master.replicas is %d, but two masters on one volume would be two writers of one file. Set master.store to a PostgreSQL database, or scale the workers instead, by workerDefaults.replicas." $replicas) -}}
{{- end -}}
{{- if $database -}}
{{- if hasKey (.Values.master.env | default dict) "DISTQ_STORE" -}}
{{- fail "master.env.DISTQ_STORE and master.store both name a store. Remove master.env.DISTQ_STORE." -}}
{{- end -}}
{{- if .Values.master.storage.existingClaim -}}
{{- fail "master.storage.existingClaim has no effect with master.store, a database. Remove it, or copy its file to the database first: `distq store copy`." -}}
{{- end -}}
{{- if regexMatch "^[a-z]+://[^/?]*:[^/?]*@" .Values.master.store.url -}}
{{- fail "master.store.url contains a password, which would be readable in the Deployment. Put it into a Secret, and name that in master.store.existingSecret." -}}
{{- end -}}
{{- if and .Values.master.podDisruptionBudget.enabled (regexMatch "^0*%?$" (toString .Values.master.podDisruptionBudget.maxUnavailable)) -}}
{{- fail "master.podDisruptionBudget.maxUnavailable is 0 or 0%, which blocks every node drain. Set it to at least 1, or set podDisruptionBudget.enabled to false." -}}
{{- end -}}
{{- end -}}
{{- $claim := .Values.master.storage.existingClaim -}}
{{- if $claim -}}
{{- range (lookup "apps/v1" "StatefulSet" .Release.Namespace "" | default dict).items -}}
{{- if ne .metadata.name (printf "%s-master" (include "distq.fullname" $)) -}}
{{- range .spec.template.spec.volumes -}}
{{- if eq (dig "persistentVolumeClaim" "claimName" "" .) $claim -}}
{{- fail (printf "Another master already uses the claim %s. Two masters on one volume would be two writers of one file: set master.storage.existingClaim to another claim." $claim) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $capacity := dig "DISTQ_CAPACITY" 0 .Values.master.env | toString | replace "_" "" | float64 -}}
{{- if and $capacity (not $claim) (not $database) -}}
{{- /* A small task takes about 400 bytes, and 20% of the volume stays free: docs/how-to/sizing.md. */ -}}
{{- $room := mulf (divf (include "distq.bytes" .Values.master.storage.size | float64) 400) 0.8 -}}
{{- if gt $capacity $room -}}
{{- fail (printf "master.env.DISTQ_CAPACITY is %.0f tasks, but a volume of %v has space for about %.0f small tasks. Raise master.storage.size, or lower the capacity." $capacity .Values.master.storage.size $room) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* A Kubernetes quantity in bytes: a number, or a text with a unit or an exponent. */}}
{{- define "distq.bytes" -}}
{{- $text := toString . -}}
{{- $unit := regexFind "[kKMGTPE]i?$" $text -}}
{{- $powers := dict "k" 1 "K" 1 "M" 2 "G" 3 "T" 4 "P" 5 "E" 6 -}}
{{- $base := hasSuffix "i" $unit | ternary 1024.0 1000.0 -}}
{{- $bytes := trimSuffix $unit $text | float64 -}}
{{- range until (get $powers (trimSuffix "i" $unit) | default 0 | int) }}{{ $bytes = mulf $bytes $base }}{{ end -}}
{{- printf "%.0f" $bytes -}}
{{- end -}}

{{/* A variable with the prefix DISTQ_ that is not a setting is a typing error. (dict "root" $ "where" … "env" …) */}}
{{- define "distq.checks.settings" -}}
{{- $known := .root.Files.Get "files/settings.txt" | splitList "\n" -}}
{{- range $name, $_ := .env -}}
{{- if and (hasPrefix "DISTQ_" $name) (not (has $name $known)) -}}
{{- fail (printf "%s.%s is no setting of distq. docs/reference/settings.md lists all settings." $.where $name) -}}
{{- end -}}
{{- end -}}
{{- if hasKey (.env | default dict) "DISTQ_DRAIN_S" -}}
{{- fail (printf "%s.DISTQ_DRAIN_S would not change the pod's grace period. Set drainSeconds instead: it sets both." .where) -}}
{{- end -}}
{{- end -}}

{{/* If a NetworkPolicy keeps KEDA from the master, the pool no longer scales, and only KEDA's log says so. */}}
{{- define "distq.checks.kedaReaches" -}}
{{- $policy := .root.Values.networkPolicy -}}
{{- $name := "kubernetes.io/metadata.name" -}}
{{- $namespace := $policy.kedaNamespace | default "keda" -}}
{{- $reached := or (not $policy.enabled) (not $policy.metricsFrom) (ne .pool.keda.trigger "metrics-api") -}}
{{- range $policy.metricsFrom -}}
{{- if hasKey . "namespaceSelector" -}}
{{- $labels := dig "namespaceSelector" "matchLabels" dict . | default dict -}}
{{- $expressions := dig "namespaceSelector" "matchExpressions" list . | default list -}}
{{- if or (and (not .namespaceSelector) (not .podSelector)) (and (eq (get $labels $name | toString) $namespace) (eq (len $labels) 1) (not $expressions)) }}{{ $reached = true }}{{ end -}}
{{- range $expressions -}}
{{- if and (eq .key $name) (eq .operator "In") (has $namespace .values) (not $labels) (eq (len $expressions) 1) }}{{ $reached = true }}{{ end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if not $reached -}}
{{- fail (printf "%s.keda asks the master on its metrics port, but networkPolicy.metricsFrom does not include KEDA's namespace, %s. Add `{namespaceSelector: {matchLabels: {%s: %s}}}` to it; if KEDA is in another namespace, set networkPolicy.kedaNamespace too." .at $namespace $name $namespace) -}}
{{- end -}}
{{- end -}}

{{- define "distq.checks.pool" -}}
{{- $at := .at -}}
{{- with .pool -}}
{{- if and .hpa.enabled .keda.enabled -}}
{{- fail (printf "%s has both hpa and keda enabled: two autoscalers would change one Deployment. Enable one of them." $at) -}}
{{- end -}}
{{- range $name := list "hpa" "keda" -}}
{{- $scaler := get $.pool $name -}}
{{- if and $scaler.enabled (gt (float64 $scaler.minReplicas) (float64 $scaler.maxReplicas)) -}}
{{- fail (printf "%s.%s.minReplicas is above its maxReplicas. Lower the one or raise the other." $at $name) -}}
{{- end -}}
{{- end -}}
{{- if and .hpa.enabled (not (dig "requests" "cpu" "" .resources)) -}}
{{- fail (printf "%s.hpa scales by usage relative to the requested CPU: set %s.resources.requests.cpu." $at $at) -}}
{{- end -}}
{{- if and .keda.enabled (eq .keda.trigger "prometheus") (not .keda.prometheusAddress) -}}
{{- fail (printf "%s.keda.trigger is prometheus: set %s.keda.prometheusAddress, or use the trigger metrics-api, which asks the master." $at $at) -}}
{{- end -}}
{{- if and .keda.enabled (eq .keda.trigger "metrics-api") (gt (int (include "distq.whole" $.root.Values.master.replicas)) 1) -}}
{{- fail (printf "%s.keda asks any of %s masters by the trigger metrics-api, and only the one that leads answers. Set %s.keda.trigger to prometheus." $at (include "distq.whole" $.root.Values.master.replicas) $at) -}}
{{- end -}}
{{- if and .keda.enabled (not .concurrency) -}}
{{- fail (printf "%s is scaled by KEDA, which needs the number of slots of a pod: set %s.concurrency." $at $at) -}}
{{- end -}}
{{- if and .podDisruptionBudget.enabled (regexMatch "^0*%?$" (toString .podDisruptionBudget.maxUnavailable)) -}}
{{- fail (printf "%s.podDisruptionBudget.maxUnavailable is 0 or 0%%, which blocks every node drain. Set it to at least 1, or set podDisruptionBudget.enabled to false." $at) -}}
{{- end -}}
{{- $from := list .tasksFrom.configMap .tasksFrom.claim .tasksFrom.image | compact -}}
{{- if gt (len $from) 1 -}}
{{- fail (printf "%s.tasksFrom names %d sources, but tasks come from one. Set only one of configMap, claim and image." $at (len $from)) -}}
{{- end -}}
{{- if and .tasksFrom.image (semverCompare "<1.35.0-0" $.root.Capabilities.KubeVersion.Version) -}}
{{- fail (printf "%s.tasksFrom.image needs Kubernetes 1.35, and this is %s. Build an image `FROM` distq-worker, or use configMap or claim." $at $.root.Capabilities.KubeVersion.Version) -}}
{{- end -}}
{{- end -}}
{{- end -}}
