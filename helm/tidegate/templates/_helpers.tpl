{{- define "tidegate.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "tidegate.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains (include "tidegate.name" .) .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "tidegate.name" .) | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "tidegate.selector" -}}
app.kubernetes.io/name: {{ include "tidegate.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "tidegate.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{ include "tidegate.selector" . }}
{{- end -}}

{{- define "tidegate.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}

{{/* What every pod has. Given (dict "root" $ "part" "api"). */}}
{{- define "tidegate.podLabels" -}}
{{ include "tidegate.labels" .root }}
app.kubernetes.io/component: {{ .part }}
{{- end -}}

{{- define "tidegate.podSettings" -}}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- /* Nothing here asks the cluster for anything. */}}
serviceAccountName: default
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile:
    type: RuntimeDefault
{{- end -}}

{{- define "tidegate.container" -}}
image: {{ include "tidegate.image" . | quote }}
{{ include "tidegate.secured" . }}
{{- end -}}

{{- define "tidegate.secured" -}}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end -}}

{{/* The settings that all processes share. */}}
{{- define "tidegate.env" -}}
- name: TIDEGATE_DATABASE_URL
  valueFrom:
    secretKeyRef:
      name: {{ required "secret.name: the name of a Secret with database-url is needed" .Values.secret.name }}
      key: {{ .Values.secret.keys.databaseUrl }}
- name: TIDEGATE_SHARDS
  value: {{ .Values.flow.shards | quote }}
{{- with .Values.kafka.brokers }}
- name: TIDEGATE_KAFKA_BROKERS
  value: {{ join "," . | quote }}
{{- end }}
{{- if and .Values.kafka.brokers .Values.secret.keys.kafkaConfig }}
- name: TIDEGATE_KAFKA_CONFIG
  valueFrom:
    secretKeyRef:
      name: {{ .Values.secret.name }}
      key: {{ .Values.secret.keys.kafkaConfig }}
{{- end }}
{{- with .Values.secret.keys.secretKey }}
- name: TIDEGATE_SECRET_KEY
  valueFrom:
    secretKeyRef:
      name: {{ $.Values.secret.name }}
      key: {{ . }}
{{- end }}
{{- with .Values.tracing.url }}
- name: TIDEGATE_TRACES_URL
  value: {{ . | quote }}
- name: TIDEGATE_TRACES_SHARE
  value: {{ $.Values.tracing.share | quote }}
{{- end }}
{{- range $name, $value := .Values.settings }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end -}}

{{- define "tidegate.mounts" -}}
- name: tmp
  mountPath: /tmp
{{- if .Values.secret.certificates }}
- name: certificates
  mountPath: /etc/tidegate/tls
  readOnly: true
{{- end }}
{{- end -}}

{{- define "tidegate.volumes" -}}
- name: tmp
  emptyDir: {}
{{- with .Values.secret.certificates }}
- name: certificates
  secret:
    secretName: {{ . }}
{{- end }}
{{- end -}}

{{/* Waits for the schema that this version needs: a container that fails is tried again. */}}
{{- define "tidegate.migrated" -}}
- name: migrated
  {{- include "tidegate.container" . | nindent 2 }}
  args: [migrate, --check]
  env:
    {{- include "tidegate.env" . | nindent 4 }}
  volumeMounts:
    - name: data
      mountPath: /var/lib/tidegate
    {{- include "tidegate.mounts" . | nindent 4 }}
  resources:
    {{- toYaml .Values.migrate.resources | nindent 4 }}
{{- end -}}

{{- define "tidegate.placement" -}}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Egress to names and the database. */}}
{{- define "tidegate.toDatabase" -}}
- ports:
    - {port: 53, protocol: UDP}
    - {port: 53, protocol: TCP}
    {{- range .Values.networkPolicy.databasePorts }}
    - {port: {{ . }}, protocol: TCP}
    {{- end }}
{{- end -}}

{{/* What the pods of the flow are told beside. */}}
{{- define "tidegate.flowEnv" -}}
{{ include "tidegate.env" . }}
- name: TIDEGATE_WORKERS
  value: {{ .Values.flow.workers | quote }}
- name: TIDEGATE_METRICS_PORT
  value: "9100"
- name: TIDEGATE_METRICS_HOST
  value: 0.0.0.0
{{- if .Values.members.enabled }}
- name: POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: POD_IP
  valueFrom:
    fieldRef:
      fieldPath: status.podIP
{{- end }}
{{- end -}}

{{/* Each change of the number of workers is a pause of seconds: up soon, down late. */}}
{{- define "tidegate.slowly" -}}
scaleUp:
  stabilizationWindowSeconds: 60
scaleDown:
  stabilizationWindowSeconds: 900
{{- end -}}
