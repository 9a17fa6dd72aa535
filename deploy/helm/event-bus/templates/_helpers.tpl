{{- define "event-bus.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* What everything is called. */}}
{{- define "event-bus.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains (include "event-bus.name" .) .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "event-bus.name" .) | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* What pods are selected by: it can never change. */}}
{{- define "event-bus.selector" -}}
app: {{ include "event-bus.fullname" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "event-bus.labels" -}}
{{ include "event-bus.selector" . }}
app.kubernetes.io/name: {{ include "event-bus.name" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "event-bus.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "event-bus.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "event-bus.secret" -}}
{{- default (include "event-bus.fullname" .) .Values.secret.existing }}
{{- end }}

{{/* Whether the chart makes a Secret, "true" or nothing. */}}
{{- define "event-bus.makesSecret" -}}
{{- if and (not .Values.secret.existing) (or .Values.secret.jwtSecret .Values.secret.redisPassword) }}true{{ end }}
{{- end }}

{{- define "event-bus.image" -}}
{{- if .Values.image.digest }}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}
{{- end }}

{{/* Values that would start a service that refuses to start. */}}
{{- define "event-bus.check" -}}
{{- if not (or .Values.secret.existing .Values.secret.jwtSecret (get .Values.env "JWT_JWKS_URL") (get .Values.env "JWT_KEY_FILE")) }}
{{- fail "tokens could not be verified: set secret.existing (a Secret with JWT_SECRET), secret.jwtSecret, or env.JWT_JWKS_URL or env.JWT_KEY_FILE" }}
{{- end }}
{{- if and .Values.ingress.enabled (not .Values.ingress.hosts) }}
{{- fail "ingress.hosts: name one host or more, or turn ingress.enabled off" }}
{{- end }}
{{- if gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas) }}
{{- fail "autoscaling.minReplicas is more than autoscaling.maxReplicas" }}
{{- end }}
{{- if and (eq .Values.autoscaling.kind "hpa") (not (or .Values.autoscaling.cpu .Values.autoscaling.memory)) }}
{{- fail "autoscaling.kind is hpa: set autoscaling.cpu, autoscaling.memory or both" }}
{{- end }}
{{- if and (eq .Values.autoscaling.kind "keda") (not (or .Values.autoscaling.cpu .Values.autoscaling.connections)) }}
{{- fail "autoscaling.kind is keda: set autoscaling.cpu, autoscaling.connections or both" }}
{{- end }}
{{- end }}
