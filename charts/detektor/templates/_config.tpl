{{/* The sections of the servers, without what is left out. */}}
{{- define "detektor.servers" -}}
{{- $secrets := "/run/secrets/detektor" }}
{{- $rabbitmq := dict "url" .Values.rabbitmq.url "management_url" .Values.rabbitmq.managementUrl "user" .Values.rabbitmq.user
    "password_file" (printf "%s/rabbitmq/password" $secrets) "partitions" .Values.rabbitmq.partitions }}
{{- if .Values.rabbitmq.ca.secret }}{{ $_ := set $rabbitmq "ca_file" (printf "%s/rabbitmq-ca/ca.pem" $secrets) }}{{ end }}
{{- $s3 := dict "bucket" .Values.s3.bucket "path_style" .Values.s3.pathStyle }}
{{- if .Values.s3.endpoint }}{{ $_ := set $s3 "endpoint" .Values.s3.endpoint }}{{ end }}
{{- if .Values.s3.region }}{{ $_ := set $s3 "region" .Values.s3.region }}{{ end }}
{{- if .Values.s3.secret.name }}
{{- $_ := set $s3 "access_key_file" (printf "%s/s3/access-key" $secrets) }}
{{- $_ := set $s3 "secret_key_file" (printf "%s/s3/secret-key" $secrets) }}
{{- end }}
{{- if .Values.s3.ca.secret }}{{ $_ := set $s3 "ca_file" (printf "%s/s3-ca/ca.pem" $secrets) }}{{ end }}
{{- $postgres := dict "url" .Values.postgres.url "user" .Values.postgres.user "password_file" (printf "%s/postgres/password" $secrets) }}
{{- if .Values.postgres.ca.secret }}{{ $_ := set $postgres "ca_file" (printf "%s/postgres-ca/ca.pem" $secrets) }}{{ end }}
{{- dict "rabbitmq" $rabbitmq "s3" $s3 "postgres" $postgres | toJson }}
{{- end -}}

{{/* All sections, as JSON. */}}
{{- define "detektor.sections" -}}
{{- $process := dict "listen" "0.0.0.0:8080" "drain_ms" (mul .Values.drainSeconds 1000) }}
{{- $open := merge (dict "allow_unauthenticated" true) $process }}
{{- $sections := include "detektor.servers" . | fromJson }}
{{- $spool := dict "spool_dir" "/var/spool/detektor" "spool_bytes" (mul .Values.dispatcher.spoolMebibytes 1048576) }}
{{- $_ := set $sections "dispatcher" (mergeOverwrite (deepCopy $open) $spool (.Values.dispatcher.settings | default dict)) }}
{{- $tokens := dict "token_file" "/run/secrets/detektor/events/token" "admin_token_file" "/run/secrets/detektor/events/admin-token" }}
{{- $_ := set $sections "events" (mergeOverwrite (deepCopy $process) $tokens (.Values.events.settings | default dict)) }}
{{- $_ := set $sections "balancer" (mergeOverwrite (deepCopy $open) (.Values.balancer.settings | default dict)) }}
{{- range $name, $function := .Values.functions }}
{{- $_ := set $sections $name (mergeOverwrite (deepCopy $open) $function.settings) }}
{{- end }}
{{- range $name, $settings := .Values.settings }}
{{- $_ := set $sections $name (mergeOverwrite (get $sections $name | default dict) $settings) }}
{{- end }}
{{- $sections | toJson }}
{{- end -}}

{{/* These sections. Scalars as JSON are TOML's own; a list of them too. Takes {sections, names}. */}}
{{- define "detektor.toml" -}}
{{- range $name := .names }}
[{{ $name }}]
{{- $settings := get $.sections $name }}
{{- range $key := keys $settings | sortAlpha }}
{{ $key }} = {{ get $settings $key | toJson }}
{{- end }}
{{ end }}
{{- end -}}

{{/* The file that this role reads. A function of one's own has its own, since the roles refuse sections that they do not know. Takes {root, role}. */}}
{{- define "detektor.configFile" -}}
{{- ternary "detektor" .role (hasKey (include "detektor.knownSettings" .root | fromJson) .role) -}}.toml
{{- end -}}

{{/* A change of what a role reads restarts it; of what others read does not. Takes {root, role}. */}}
{{- define "detektor.checksum" -}}
{{- $sections := include "detektor.sections" .root | fromJson }}
{{- include "detektor.toml" (dict "sections" $sections "names" (list "rabbitmq" "s3" "postgres" .role)) | sha256sum }}
{{- end -}}
