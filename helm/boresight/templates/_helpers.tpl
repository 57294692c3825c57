{{/* Name of everything in the release's namespace. With release `boresight`: boresight-operator. */}}
{{- define "boresight.name" -}}
{{- $release := .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- if contains "boresight" $release }}{{ $release }}-operator{{ else }}{{ $release }}-boresight-operator{{ end -}}
{{- end }}

{{/* Name of what gives the right to act on runs. It is the same in every release: where a second operator would act on
     the same namespace, Helm refuses it, because the first release owns the object. */}}
{{- define "boresight.roleName" -}}boresight-operator-runs{{- end }}

{{- define "boresight.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (include "boresight.name" .) -}}
{{- end }}

{{- define "boresight.selector" -}}
app.kubernetes.io/name: boresight-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "boresight.labels" -}}
{{ include "boresight.selector" . }}
app.kubernetes.io/part-of: boresight
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "boresight.image" -}}
{{- $image := .Values.image -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ $image.tag | default .Chart.AppVersion }}
{{- end }}
{{- end }}

{{/* Container security that the restricted Pod Security Standard asks for, and a read-only root. */}}
{{- define "boresight.containerSecurity" -}}
allowPrivilegeEscalation: false
capabilities: {drop: [ALL]}
privileged: false
readOnlyRootFilesystem: true
{{- end }}

{{- define "boresight.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{/* Whether it is known who scrapes. */}}
{{- define "boresight.prometheusKnown" -}}
{{- with .Values.monitoring.prometheus }}{{ if or .namespaceLabels .podLabels }}true{{ end }}{{ end -}}
{{- end }}

{{/* The operator's settings: what the values say, and what only the chart knows. */}}
{{- define "boresight.settings" -}}
{{- $operator := dict "namespaceLabels" (dict "kubernetes.io/metadata.name" .Release.Namespace) "podLabels" (dict "app.kubernetes.io/name" "boresight-operator") -}}
{{- $readers := list $operator -}}
{{- if include "boresight.prometheusKnown" . -}}
{{- $readers = append $readers (pick .Values.monitoring.prometheus "namespaceLabels" "podLabels") -}}
{{- end -}}
{{- $given := deepCopy .Values.settings -}}
{{- $defaults := merge (dict) ($given.defaults | default dict) -}}
{{- if not (hasKey $defaults "ingressFrom") -}}{{- $_ := set $defaults "ingressFrom" $readers -}}{{- end -}}
{{- $_ := set $given "defaults" $defaults -}}
{{- if not (hasKey $given "leaseName") -}}{{- $_ := set $given "leaseName" (include "boresight.name" .) -}}{{- end -}}
{{- toYaml $given -}}
{{- end }}

{{- define "boresight.metricsPort" -}}
{{- .Values.settings.metricsPort | default 9090 | int -}}
{{- end }}

{{/* The stores to clean, as a JSON list. */}}
{{- define "boresight.gcStores" -}}
{{- $stores := .Values.gc.stores -}}
{{- if not $stores -}}
{{- with dig "defaults" "storage" dict .Values.settings -}}
{{- $stores = list (merge (dict "name" "default") (pick . "uri" "endpoint" "secretName")) -}}
{{- end -}}
{{- end -}}
{{- toJson $stores -}}
{{- end }}
