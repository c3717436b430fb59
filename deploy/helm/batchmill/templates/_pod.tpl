{{- /* Parts of every pod of ours. They take the root; where it says so, (dict "root" $ …). */ -}}

{{- define "batchmill.podSecurity" -}}
enableServiceLinks: false # else a Service named batchmill sets BATCHMILL_PORT
automountServiceAccountToken: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{ toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "batchmill.container" -}}
image: {{ include "batchmill.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
volumeMounts:
  - {name: tmp, mountPath: /tmp}
  - {name: credentials, mountPath: /run/credentials, readOnly: true}
  {{- with .Values.extraVolumeMounts }}{{ toYaml . | nindent 2 }}{{ end }}
{{- end -}}

{{- /* The credentials as files, and the writable folder. "secrets" is a list of (dict "name" … "key" … "path" …). */ -}}
{{- define "batchmill.volumes" -}}
- name: tmp
  emptyDir: {sizeLimit: {{ .root.Values.tmp.sizeLimit | quote }}}
- name: credentials
  projected:
    defaultMode: 0440
    sources:
      {{- range .secrets }}
      - secret: {name: {{ .name | quote }}, items: [{key: {{ .key | quote }}, path: {{ .path | quote }}}]}
      {{- end }}
{{- with .root.Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "batchmill.databaseSecret" -}}
{{- required "database.existingSecret must name the Secret with the URL of the database" .Values.database.existingSecret -}}
{{- end -}}

{{- /*
A Deployment of one role. Takes (dict "root" $ "component" "api" "of" .Values.api "args" (list "api")
"settings" (dict name → text) "replicas" (false: someone else's) "preStop" seconds).
*/ -}}
{{- define "batchmill.deployment" -}}
{{- $values := .root.Values -}}
{{- $secrets := list (dict "name" (include "batchmill.databaseSecret" .root) "key" $values.database.urlKey "path" "database-url") -}}
{{- $files := dict "database_url" "database-url" -}}
{{- with $values.rabbitmq.existingSecret -}}
{{- $secrets = append $secrets (dict "name" . "key" $values.rabbitmq.urlKey "path" "amqp-url") -}}
{{- $_ := set $files "amqp_url" "amqp-url" -}}
{{- end -}}
{{- with $values.upstream.existingSecret -}}
{{- $secrets = append $secrets (dict "name" . "key" $values.upstream.key "path" "upstream-api-key") -}}
{{- $_ := set $files "upstream_api_key" "upstream-api-key" -}}
{{- end -}}
{{- if and $values.apiKey.existingSecret (eq .component "api") -}}
{{- $secrets = append $secrets (dict "name" $values.apiKey.existingSecret "key" $values.apiKey.key "path" "api-key") -}}
{{- $_ := set $files "api_key" "api-key" -}}
{{- end -}}
{{- with $values.webhookKey.existingSecret -}}
{{- $secrets = append $secrets (dict "name" . "key" $values.webhookKey.key "path" "webhook-key") -}}
{{- $_ := set $files "webhook_key" "webhook-key" -}}
{{- end -}}
{{- with $values.wrappingKey.existingSecret -}}
{{- $secrets = append $secrets (dict "name" . "key" $values.wrappingKey.key "path" "wrapping-key") -}}
{{- $_ := set $files "wrapping_key" "wrapping-key" -}}
{{- end -}}
{{- if and $values.auditKey.existingSecret (ne .component "api") -}}
{{- $secrets = append $secrets (dict "name" $values.auditKey.existingSecret "key" $values.auditKey.key "path" "audit-key") -}}
{{- $_ := set $files "audit_key" "audit-key" -}}
{{- end -}}
{{- $fixed := dict "host" "0.0.0.0" "drain" (printf "%ds" (int $values.drainSeconds)) -}}
{{- $_ := set $fixed "storage_url" (required "storage.url must say where files are kept, as in s3://bucket/prefix" $values.storage.url) -}}
{{- $_ := set $fixed "upstream_url" (required "upstream.url must name the server that answers the lines, with its /v1" $values.upstream.url) -}}
{{- $settings := merge dict $fixed .settings .of.settings $values.settings -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ include "batchmill.fullname" .root }}-{{ .component }}
  labels: {{ include "batchmill.labels" . | nindent 4 }}
spec:
  {{- if .replicas }}
  replicas: {{ .replicas }}
  {{- end }}
  revisionHistoryLimit: 3
  selector:
    matchLabels: {{ include "batchmill.selector" . | nindent 6 }}
  strategy:
    rollingUpdate: {maxSurge: 1, maxUnavailable: 0}
  template:
    metadata:
      labels:
        {{- include "batchmill.labels" . | nindent 8 }}
        {{- with .of.podLabels }}{{ toYaml . | nindent 8 }}{{ end }}
      {{- with .of.podAnnotations }}
      annotations: {{ toYaml . | nindent 8 }}
      {{- end }}
    spec:
      {{- include "batchmill.podSecurity" .root | nindent 6 }}
      serviceAccountName: {{ include "batchmill.serviceAccountName" .root }}
      terminationGracePeriodSeconds: {{ add (int .preStop) (int $values.drainSeconds) (int $values.graceMarginSeconds) }}
      containers:
        - name: {{ .component }}
          {{- include "batchmill.container" .root | nindent 10 }}
          args: {{ toJson .args }}
          ports:
            - {name: http, containerPort: 8080}
          env:
            {{- range $name, $value := $settings }}
            - {name: BATCHMILL_{{ upper $name }}, value: {{ $value | quote }}}
            {{- end }}
            {{- range $name, $file := $files }}
            - {name: BATCHMILL_{{ upper $name }}_FILE, value: /run/credentials/{{ $file }}}
            {{- end }}
            {{- range $name, $value := $values.storage.env }}
            - {name: {{ $name }}, value: {{ $value | quote }}}
            {{- end }}
            {{- with .of.extraEnv }}{{ toYaml . | nindent 12 }}{{ end }}
          {{- with $values.storage.existingSecret }}
          envFrom:
            - secretRef: {name: {{ . | quote }}}
          {{- end }}
          {{- if .preStop }}
          lifecycle:
            preStop: {sleep: {seconds: {{ .preStop }}}}
          {{- end }}
          # A database that is away makes a pod unready and never kills it.
          startupProbe:
            httpGet: {path: /livez, port: http}
            periodSeconds: 2
            failureThreshold: 60
          livenessProbe:
            httpGet: {path: /livez, port: http}
            periodSeconds: 10
            timeoutSeconds: 5
            failureThreshold: 6
          readinessProbe:
            httpGet: {path: /readyz, port: http}
            periodSeconds: 5
            timeoutSeconds: 5
            failureThreshold: 3
          resources: {{ toYaml .of.resources | nindent 12 }}
      volumes: {{ include "batchmill.volumes" (dict "root" .root "secrets" $secrets) | nindent 8 }}
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels: {{ include "batchmill.selector" . | nindent 14 }}
          matchLabelKeys: [pod-template-hash]
      {{- with .of.nodeSelector }}
      nodeSelector: {{ toYaml . | nindent 8 }}
      {{- end }}
      {{- with .of.tolerations }}
      tolerations: {{ toYaml . | nindent 8 }}
      {{- end }}
      {{- with .of.affinity }}
      affinity: {{ toYaml . | nindent 8 }}
      {{- end }}
{{- end -}}

{{- define "batchmill.disruptionBudget" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "batchmill.fullname" .root }}-{{ .component }}
  labels: {{ include "batchmill.labels" . | nindent 4 }}
spec:
  maxUnavailable: {{ .of.podDisruptionBudget.maxUnavailable }}
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels: {{ include "batchmill.selector" . | nindent 6 }}
{{- end -}}
