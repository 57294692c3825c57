{{/* Values that contradict each other. Each message names the values and says what to do. */}}
{{- define "boresight.check" -}}
{{- $values := .Values -}}
{{- $settings := .Values.settings -}}

{{- if and (eq (toString $settings.leaderElection) "false") (gt (int $values.replicas) 1) -}}
{{- fail (printf "settings.leaderElection is false and replicas is %d: all of them would write. Set replicas to 1, or leave leaderElection true" (int $values.replicas)) -}}
{{- end -}}

{{- $lease := $settings.leaseSeconds | default 10 | float64 -}}
{{- $renew := $settings.renewSeconds | default 6 | float64 -}}
{{- $retry := $settings.retrySeconds | default 2 | float64 -}}
{{- if not (and (lt $retry $renew) (lt $renew $lease)) -}}
{{- fail (printf "settings: found retrySeconds %v, renewSeconds %v, leaseSeconds %v; expected each below the next" $retry $renew $lease) -}}
{{- end -}}

{{- range $namespace, $_ := $settings.namespaces -}}
{{- if and $settings.watchNamespaces (not (has $namespace $settings.watchNamespaces)) -}}
{{- fail (printf "settings.namespaces.%s: settings.watchNamespaces does not have it, so this would have no effect. Add it there, or remove it here" $namespace) -}}
{{- end -}}
{{- end -}}

{{- if and (not $values.serviceAccount.create) (not $values.serviceAccount.name) -}}
{{- fail "serviceAccount.create is false and serviceAccount.name is empty: the operator would act as the namespace's default ServiceAccount. Name one, or let the chart create it" -}}
{{- end -}}

{{- range $values.env -}}
{{- if hasPrefix "BORESIGHT_OPERATOR_" .name -}}
{{- fail (printf "env: %s would override what settings says. Write it into settings" .name) -}}
{{- end -}}
{{- end -}}

{{- if not (include "boresight.prometheusKnown" .) -}}
{{- if and $values.monitoring.serviceMonitor.enabled $values.networkPolicy.enabled -}}
{{- fail "monitoring.serviceMonitor.enabled: the operator's NetworkPolicy would let nobody scrape it. Say who Prometheus is in monitoring.prometheus.namespaceLabels and podLabels, or set networkPolicy.enabled to false" -}}
{{- end -}}
{{- if and $values.monitoring.podMonitor.enabled (not (hasKey ($settings.defaults | default dict) "ingressFrom")) -}}
{{- fail "monitoring.podMonitor.enabled: every run's NetworkPolicy would let nobody but the operator in. Say who Prometheus is in monitoring.prometheus.namespaceLabels and podLabels, or in settings.defaults.ingressFrom" -}}
{{- end -}}
{{- end -}}

{{- if $values.gc.enabled -}}
{{- range $store := include "boresight.gcStores" . | fromJsonArray -}}
{{- if not (and (hasPrefix "s3://" $store.uri) $store.secretName) -}}
{{- fail (printf "gc.enabled: settings.defaults.storage is %s, and a CronJob can only clean a bucket with a Secret. Name stores in gc.stores" $store.uri) -}}
{{- end -}}
{{- else -}}
{{- fail "gc.enabled: found neither gc.stores nor settings.defaults.storage. Name the stores to clean" -}}
{{- end -}}
{{- end -}}

{{- if and $values.rbac.aggregatedRoles (not $values.rbac.create) -}}
{{- fail "rbac.create is false and rbac.aggregatedRoles is true: set both to the same" -}}
{{- end -}}
{{- end }}
