{{- define "batchmill.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "batchmill.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains (include "batchmill.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "batchmill.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "batchmill.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "batchmill.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "batchmill.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) -}}
{{- end -}}
{{- end -}}

{{- /* What picks the pods of one component: never changes in a release's life. Takes (dict "root" $ "component" …). */ -}}
{{- define "batchmill.selector" -}}
app.kubernetes.io/name: {{ include "batchmill.name" .root }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "batchmill.labels" -}}
{{ include "batchmill.selector" . }}
app.kubernetes.io/version: {{ include "batchmill.label" .root.Chart.AppVersion }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ include "batchmill.label" (printf "%s-%s" .root.Chart.Name .root.Chart.Version) }}
{{- end -}}

{{- /* Of every object. "name" is where it is not called after its component. */ -}}
{{- define "batchmill.metadata" -}}
name: {{ default (printf "%s-%s" (include "batchmill.fullname" .root) .component) .name }}
namespace: {{ .root.Release.Namespace }}
labels: {{ include "batchmill.labels" . | nindent 2 }}
{{- end -}}

{{- /* A version as a label may have it: without the + of a build. */ -}}
{{- define "batchmill.label" -}}
{{- replace "+" "_" . | trunc 63 | trimSuffix "-" | trimSuffix "_" | trimSuffix "." | quote -}}
{{- end -}}
