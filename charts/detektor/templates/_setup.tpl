{{/* The setup job's pod: tables, then the bucket, then the broker's policies. Each does nothing where all is as it is to be. */}}
{{- define "detektor.setupPod" -}}
{{- $part := dict "root" . "component" "setup" "database" true }}
{{- $broker := .Values.setup.broker }}
metadata:
  labels:
    {{- include "detektor.labels" $part | nindent 4 }}
  annotations:
    checksum/config: {{ include "detektor.toml" (dict "sections" (include "detektor.servers" . | fromJson) "names" (list "rabbitmq" "s3" "postgres")) | sha256sum }}
spec:
  {{- include "detektor.podCommon" $part | nindent 2 }}
  restartPolicy: OnFailure
  terminationGracePeriodSeconds: 30
  initContainers:
    - name: bucket
      {{- $args := list "bucket" "setup" "--config" "/etc/detektor/detektor.toml" }}
      {{- range $kind, $days := .Values.setup.bucket.keep }}{{ $args = concat $args (list "--keep" (printf "%s=%v" $kind $days)) }}{{ end }}
      {{- range .Values.setup.bucket.notify }}{{ $args = concat $args (list "--notify" .) }}{{ end }}
      {{- if not .Values.setup.bucket.enabled }}{{ $args = list "--version" }}{{ end }}
      {{- include "detektor.setupContainer" (dict "part" $part "args" $args) | nindent 6 }}
    - name: broker
      {{- $args = list "broker" "setup" "--config" "/etc/detektor/detektor.toml" }}
      {{- if $broker.user }}{{ $args = concat $args (list "--rabbitmq-user" $broker.user "--rabbitmq-password-file" "/run/secrets/detektor/policymaker/password") }}{{ end }}
      {{- if $broker.queueBytes }}{{ $args = concat $args (list "--queue-bytes" (printf "%d" (int64 $broker.queueBytes))) }}{{ end }}
      {{- if not $broker.enabled }}{{ $args = list "--version" }}{{ end }}
      {{- include "detektor.setupContainer" (dict "part" $part "args" $args "policymaker" (not (not $broker.user))) | nindent 6 }}
  containers:
    # The tables come last: other parts wait for them, and find the rest there.
    - name: tables
      {{- include "detektor.setupContainer" (dict "part" $part "args" (list "migrate" "--config" "/etc/detektor/detektor.toml")) | nindent 6 }}
  volumes:
    {{- include "detektor.secretVolumes" $part | nindent 4 }}
    {{- if $broker.user }}
    - name: policymaker
      secret: {secretName: {{ $broker.secret.name }}, defaultMode: 0440, items: [{key: {{ $broker.secret.passwordKey }}, path: password}]}
    {{- end }}
{{- end -}}

{{- define "detektor.setupContainer" -}}
image: {{ include "detektor.image" .part.root }}
imagePullPolicy: {{ .part.root.Values.image.pullPolicy }}
args: {{ .args | toJson }}
env:
  {{- include "detektor.env" (dict "root" .part.root "env" dict) | nindent 2 }}
securityContext: {{ include "detektor.containerSecurity" . }}
{{- /* Short processes, one after the other, with one connection each. What takes long in a migration takes it in Postgres. */}}
resources: {requests: {cpu: 50m, memory: 64Mi}, limits: {memory: 256Mi}}
volumeMounts:
  {{- include "detektor.secretMounts" .part | nindent 2 }}
  {{- if .policymaker }}
  - {name: policymaker, mountPath: /run/secrets/detektor/policymaker, readOnly: true}
  {{- end }}
{{- end -}}
