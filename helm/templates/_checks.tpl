{{/*
Values that are each right and do not go together: an error says what to do. Rendered first, by checks.yaml.
*/}}
{{- define "distq.checks" -}}
{{- include "distq.checks.gone" . -}}
{{- include "distq.checks.master" . -}}
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
{{- fail (printf "workerPools.%s and workerPools.%s are both scaled by KEDA for the queue %s: its tasks would be counted twice. Give each pool queues of its own, by `queues`." $other $name (ternary (first $theirs) $queue (eq $queue "*"))) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $_ := set $scaled $name ($pool.queues | default (list "*")) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Values that people know from elsewhere, or that were once here: where to go. */}}
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
{{- if hasKey .Values.master "replicas" -}}
{{- fail "master.replicas is not a value: two masters on one volume would be two writers of one file. It is the workers that scale, by workerDefaults.replicas." -}}
{{- end -}}
{{- end -}}

{{- define "distq.checks.master" -}}
{{- $claim := .Values.master.storage.existingClaim -}}
{{- if $claim -}}
{{- range (lookup "apps/v1" "StatefulSet" .Release.Namespace "" | default dict).items -}}
{{- if ne .metadata.name (printf "%s-master" (include "distq.fullname" $)) -}}
{{- range .spec.template.spec.volumes -}}
{{- if eq (dig "persistentVolumeClaim" "claimName" "" .) $claim -}}
{{- fail (printf "The claim %s has another master already. Two masters on one volume would be two writers of one file: give this one a claim of its own." $claim) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $capacity := dig "DISTQ_CAPACITY" 0 .Values.master.env | toString | replace "_" "" | float64 -}}
{{- if and $capacity (not $claim) -}}
{{- /* A small task takes about 400 bytes, and a fifth of the volume stays free: docs/how-to/sizing.md. */ -}}
{{- $room := mulf (divf (include "distq.bytes" .Values.master.storage.size | float64) 400) 0.8 -}}
{{- if gt $capacity $room -}}
{{- fail (printf "master.env.DISTQ_CAPACITY is %.0f tasks, and a volume of %v has room for about %.0f small ones. Raise master.storage.size, or lower the capacity." $capacity .Values.master.storage.size $room) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* A quantity in bytes: a number, or text as Kubernetes writes it, with a unit or an exponent. */}}
{{- define "distq.bytes" -}}
{{- $text := toString . -}}
{{- $unit := regexFind "[kKMGTPE]i?$" $text -}}
{{- $powers := dict "k" 1 "K" 1 "M" 2 "G" 3 "T" 4 "P" 5 "E" 6 -}}
{{- $base := hasSuffix "i" $unit | ternary 1024.0 1000.0 -}}
{{- $bytes := trimSuffix $unit $text | float64 -}}
{{- range until (get $powers (trimSuffix "i" $unit) | default 0 | int) }}{{ $bytes = mulf $bytes $base }}{{ end -}}
{{- printf "%.0f" $bytes -}}
{{- end -}}

{{/* Variables with our prefix are settings: one that is none is a slip of the pen. (dict "root" $ "where" … "env" …) */}}
{{- define "distq.checks.settings" -}}
{{- $known := .root.Files.Get "files/settings.txt" | splitList "\n" -}}
{{- range $name, $_ := .env -}}
{{- if and (hasPrefix "DISTQ_" $name) (not (has $name $known)) -}}
{{- fail (printf "%s.%s is no setting of distq. docs/reference/settings.md has them all." $.where $name) -}}
{{- end -}}
{{- end -}}
{{- if hasKey (.env | default dict) "DISTQ_DRAIN_S" -}}
{{- fail (printf "%s.DISTQ_DRAIN_S would be longer or shorter than the pod's grace period knows. Set drainSeconds beside it: both follow from that." .where) -}}
{{- end -}}
{{- end -}}

{{/* KEDA that the network keeps from the master would leave a pool as it is, and say so in its own log alone. */}}
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
{{- fail (printf "%s.keda asks the master on its metrics' port, and networkPolicy.metricsFrom does not name KEDA's namespace, %s. Add `{namespaceSelector: {matchLabels: {%s: %s}}}` to it; where KEDA is elsewhere, set networkPolicy.kedaNamespace too." .at $namespace $name $namespace) -}}
{{- end -}}
{{- end -}}

{{- define "distq.checks.pool" -}}
{{- $at := .at -}}
{{- with .pool -}}
{{- if and .hpa.enabled .keda.enabled -}}
{{- fail (printf "%s has both hpa and keda enabled: two autoscalers would pull at one Deployment. Enable one of them." $at) -}}
{{- end -}}
{{- range $name := list "hpa" "keda" -}}
{{- $scaler := get $.pool $name -}}
{{- if and $scaler.enabled (gt (float64 $scaler.minReplicas) (float64 $scaler.maxReplicas)) -}}
{{- fail (printf "%s.%s.minReplicas is above its maxReplicas." $at $name) -}}
{{- end -}}
{{- end -}}
{{- if and .hpa.enabled (not (dig "requests" "cpu" "" .resources)) -}}
{{- fail (printf "%s.hpa scales by the share of the requested CPU: set %s.resources.requests.cpu." $at $at) -}}
{{- end -}}
{{- if and .keda.enabled (eq .keda.trigger "prometheus") (not .keda.prometheusAddress) -}}
{{- fail (printf "%s.keda.trigger is prometheus: set %s.keda.prometheusAddress, or ask the master itself by metrics-api." $at $at) -}}
{{- end -}}
{{- if and .keda.enabled (not .concurrency) -}}
{{- fail (printf "%s is scaled by KEDA, which must know how many slots a pod has: set %s.concurrency." $at $at) -}}
{{- end -}}
{{- if and .podDisruptionBudget.enabled (regexMatch "^0*%?$" (toString .podDisruptionBudget.maxUnavailable)) -}}
{{- fail (printf "%s.podDisruptionBudget.maxUnavailable of 0 or 0%% lets no node be drained: 1 at least, or podDisruptionBudget.enabled false." $at) -}}
{{- end -}}
{{- $from := list .tasksFrom.configMap .tasksFrom.claim .tasksFrom.image | compact -}}
{{- if gt (len $from) 1 -}}
{{- fail (printf "%s.tasksFrom names %d places: tasks come from one of configMap, claim and image." $at (len $from)) -}}
{{- end -}}
{{- if and .tasksFrom.image (semverCompare "<1.35.0-0" $.root.Capabilities.KubeVersion.Version) -}}
{{- fail (printf "%s.tasksFrom.image needs Kubernetes 1.35, and this is %s. Make an image `FROM` distq-worker, or use configMap or claim." $at $.root.Capabilities.KubeVersion.Version) -}}
{{- end -}}
{{- end -}}
{{- end -}}
