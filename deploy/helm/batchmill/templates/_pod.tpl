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

{{- /* The writable folder, and the credentials as files. "secrets" is a dict of setting → (list Secret key), the
Secret being empty where there is none. */ -}}
{{- define "batchmill.volumes" -}}
- name: tmp
  emptyDir: {sizeLimit: {{ .root.Values.tmp.sizeLimit | quote }}}
- name: credentials
  projected:
    defaultMode: 0440
    sources:
      {{- range $setting, $secret := .secrets }}
      {{- if first $secret }}
      - secret: {name: {{ first $secret | quote }}, items: [{key: {{ last $secret | quote }}, path: {{ replace "_" "-" $setting }}}]}
      {{- end }}
      {{- end }}
{{- with .root.Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* Where the program finds these files. */ -}}
{{- define "batchmill.secretFiles" -}}
{{- range $setting, $secret := . }}
{{- if first $secret }}
- {name: BATCHMILL_{{ upper $setting }}_FILE, value: /run/credentials/{{ replace "_" "-" $setting }}}
{{- end }}
{{- end }}
{{- end -}}

{{- define "batchmill.databaseSecret" -}}
{{- required "database.existingSecret must name the Secret with the URL of the database" .Values.database.existingSecret -}}
{{- end -}}

{{- /* A value as it stands in the environment: 1000000, not 1e+06. */ -}}
{{- define "batchmill.text" -}}
{{- ternary . (toJson .) (kindIs "string" .) | quote -}}
{{- end -}}

{{- /*
A Deployment of one role. Takes (dict "root" $ "component" "api" "of" .Values.api "args" (list "api")
"settings" (dict name → text) "leads" (whether it may lead) "scaled" (whether someone else says how many)
"preStop" seconds).
*/ -}}
{{- define "batchmill.deployment" -}}
{{- $values := .root.Values -}}
{{- $secrets := dict
      "database_url" (list (include "batchmill.databaseSecret" .root) $values.database.urlKey)
      "amqp_url" (list $values.rabbitmq.existingSecret $values.rabbitmq.urlKey)
      "upstream_api_key" (list $values.upstream.existingSecret $values.upstream.key)
      "wrapping_key" (list $values.wrappingKey.existingSecret $values.wrappingKey.key) -}}
{{- if eq .component "api" -}}
{{- $_ := set $secrets "api_key" (list $values.apiKey.existingSecret $values.apiKey.key) -}}
{{- end -}}
{{- if or .leads (eq .component "api") -}}
{{- $_ := set $secrets "webhook_key" (list $values.webhookKey.existingSecret $values.webhookKey.key) -}}
{{- end -}}
{{- if .leads -}}
{{- $_ := set $secrets "audit_key" (list $values.auditKey.existingSecret $values.auditKey.key) -}}
{{- end -}}
{{- $fixed := dict
      "drain" (printf "%ds" (int $values.drainSeconds))
      "storage_url" (required "storage.url must say where files are kept, as in s3://bucket/prefix" $values.storage.url)
      "upstream_url" (required "upstream.url must name the server that answers the lines, with its /v1" $values.upstream.url) -}}
{{- $settings := dict "host" "0.0.0.0" -}}
{{- range list $values.settings .of.settings .settings $fixed -}}
{{- range $name, $value := . -}}
{{- $_ := set $settings $name $value -}}
{{- end -}}
{{- end -}}
apiVersion: apps/v1
kind: Deployment
metadata: {{ include "batchmill.metadata" . | nindent 2 }}
spec:
  {{- if not .scaled }}
  replicas: {{ .of.replicas }}
  {{- end }}
  revisionHistoryLimit: 3
  selector:
    matchLabels: {{ include "batchmill.selector" . | nindent 6 }}
  strategy:
    type: RollingUpdate
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
            - {name: BATCHMILL_{{ upper $name }}, value: {{ include "batchmill.text" $value }}}
            {{- end }}
            {{- include "batchmill.secretFiles" $secrets | trim | nindent 12 }}
            {{- range $name, $value := $values.storage.env }}
            - {name: {{ $name }}, value: {{ include "batchmill.text" $value }}}
            {{- end }}
            {{- with $values.extraEnv }}{{ toYaml . | nindent 12 }}{{ end }}
            {{- with .of.extraEnv }}{{ toYaml . | nindent 12 }}{{ end }}
          {{- with $values.storage.existingSecret }}
          envFrom:
            - secretRef: {name: {{ . | quote }}}
          {{- end }}
          {{- if .preStop }}
          lifecycle:
            preStop: {sleep: {seconds: {{ .preStop }}}}
          {{- end }}
          # A database that goes away makes a pod unready and never kills it.
          startupProbe:
            httpGet: {path: /livez, port: http}
            periodSeconds: 2
            timeoutSeconds: 5
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
        {{- $part := . }}
        {{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
        - maxSkew: 1
          topologyKey: {{ . }}
          whenUnsatisfiable: ScheduleAnyway
          labelSelector:
            matchLabels: {{ include "batchmill.selector" $part | nindent 14 }}
          matchLabelKeys: [pod-template-hash]
        {{- end }}
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
metadata: {{ include "batchmill.metadata" . | nindent 2 }}
spec:
  maxUnavailable: {{ .of.podDisruptionBudget.maxUnavailable }}
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels: {{ include "batchmill.selector" . | nindent 6 }}
{{- end -}}
