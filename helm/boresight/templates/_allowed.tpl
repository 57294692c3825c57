{{/* What settings allow, as a CEL map from namespace to lists. "" stands for the namespaces that settings do not name. */}}
{{- define "boresight.allowed" -}}
{{- $context := . -}}
{{- $defaults := .Values.settings.defaults | default dict -}}
{{- $all := dict "" $defaults -}}
{{- range $namespace, $override := .Values.settings.namespaces -}}
{{- /* As the operator does it: field by field, each replaced whole. */ -}}
{{- $own := dict -}}
{{- range $field, $value := $defaults }}{{ $_ := set $own $field $value }}{{ end -}}
{{- range $field, $value := $override }}{{ $_ := set $own $field $value }}{{ end -}}
{{- $_ := set $all $namespace $own -}}
{{- end -}}
{
{{- range $index, $namespace := keys $all | sortAlpha -}}
{{- $own := get $all $namespace -}}
{{- $template := $own.podTemplate | default dict -}}
{{- $image := $own.image | default (printf "boresight-trainer:%s" $context.Chart.AppVersion) -}}
{{- if $index }},{{ end }}
{{ $namespace | quote }}: {
  "images": {{ include "boresight.patterns" (dict "found" (concat (list $image $template.image) ($own.allowedImages | default list))) }},
  "priorityClasses": {{ include "boresight.patterns" (dict "found" (concat (list $template.priorityClassName) ($own.allowedPriorityClasses | default list))) }},
  "runtimeClasses": {{ include "boresight.patterns" (dict "found" (concat (list $template.runtimeClassName) ($own.allowedRuntimeClasses | default list))) }},
  "tolerations": {{ include "boresight.patterns" (dict "found" ($own.allowedTolerations | default list)) }},
  "stores": {{ toJson ($own.allowedReadFrom | default list) }}}
{{- end }}
}
{{- end }}

{{/* Glob patterns as a JSON list of regular expressions. */}}
{{- define "boresight.patterns" -}}
{{- $patterns := list -}}
{{- range compact .found -}}
{{- if contains "[" . -}}
{{- fail (printf "admissionPolicy.enabled: the pattern %s in settings has a set of characters, which the policy cannot say. Write several patterns with * and ? instead" .) -}}
{{- end -}}
{{- $patterns = append $patterns (printf "^%s$" (regexQuoteMeta . | replace "\\*" ".*" | replace "\\?" ".")) -}}
{{- end -}}
{{- toJson $patterns -}}
{{- end }}
