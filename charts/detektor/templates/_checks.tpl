{{/*
Values that contradict themselves, or that could only fail in the cluster, are refused with a sentence that says what is wrong. What a
value is (a number, a text, how large) and which values there are is in values.schema.json.
*/}}
{{- define "detektor.checks" -}}
{{- include "detektor.checkUrls" . }}
{{- include "detektor.checkNames" . }}
{{- include "detektor.checkSettings" . }}
{{- include "detektor.checkFunctions" . }}
{{- include "detektor.checkRest" . }}
{{- end -}}

{{/* Takes where the value is, the value, how it looks, and what it has to do to look so. */}}
{{- define "detektor.must" -}}
{{- $value := ternary "" (index . 1 | toString) (kindIs "invalid" (index . 1)) }}
{{- if not (regexMatch (index . 2) $value) }}
{{- fail (printf "%s is %s: it has to %s" (index . 0) ($value | default "empty") (index . 3)) }}
{{- end }}
{{- end -}}

{{- define "detektor.checkUrls" -}}
{{- $urls := dict "rabbitmq.url" .Values.rabbitmq.url "rabbitmq.managementUrl" .Values.rabbitmq.managementUrl "keda.managementUrl" .Values.keda.managementUrl
    "s3.endpoint" .Values.s3.endpoint "postgres.url" .Values.postgres.url }}
{{- /* First, so that no password is printed below. */}}
{{- range $at, $url := $urls }}
{{- if contains "@" (toString $url) }}
{{- fail (printf "%s has a user or password in it, where everybody could read it. Put the password into a secret, and name that" $at) }}
{{- end }}
{{- end }}
{{- include "detektor.must" (list "rabbitmq.url" .Values.rabbitmq.url "^amqps?://." "begin with amqp:// or amqps://") }}
{{- include "detektor.must" (list "postgres.url" .Values.postgres.url "^postgres(ql)?://." "begin with postgres://") }}
{{- include "detektor.must" (list "rabbitmq.managementUrl" .Values.rabbitmq.managementUrl "^https?://." "begin with http:// or https://") }}
{{- range $at := list "keda.managementUrl" "s3.endpoint" }}
{{- with get $urls $at }}
{{- include "detektor.must" (list $at . "^https?://." "begin with http:// or https://") }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "detektor.checkNames" -}}
{{- $v := .Values }}
{{- $name := "^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$" }}
{{- $named := "be a name as Kubernetes has them: small letters, digits, '-' and '.'" }}
{{- range $at, $value := dict "rabbitmq.secret.name" $v.rabbitmq.secret.name "postgres.secret.name" $v.postgres.secret.name "events.secret.name" $v.events.secret.name
    "keda.secret.name" $v.keda.secret.name }}
{{- include "detektor.must" (list $at $value $name $named) }}
{{- end }}
{{- /* These may be empty. */}}
{{- $names := dict "s3.secret.name" $v.s3.secret.name "rabbitmq.ca.secret" $v.rabbitmq.ca.secret "s3.ca.secret" $v.s3.ca.secret
    "postgres.ca.secret" $v.postgres.ca.secret "setup.broker.secret.name" $v.setup.broker.secret.name "priorityClass.name" $v.priorityClass.name
    "events.ingress.tlsSecret" $v.events.ingress.tlsSecret }}
{{- range $i, $value := $v.image.pullSecrets }}{{ $_ := set $names (printf "image.pullSecrets[%d]" $i) $value }}{{ end }}
{{- range $function, $f := $v.functions }}{{ $_ := set $names (printf "functions.%s.gpu.runtimeClassName" $function) $f.gpu.runtimeClassName }}{{ end }}
{{- range $at, $value := $names }}
{{- with $value }}
{{- include "detektor.must" (list $at . $name $named) }}
{{- end }}
{{- end }}
{{- range $at, $value := dict "rabbitmq.secret.passwordKey" $v.rabbitmq.secret.passwordKey "postgres.secret.passwordKey" $v.postgres.secret.passwordKey
    "s3.secret.accessKey" $v.s3.secret.accessKey "s3.secret.secretKey" $v.s3.secret.secretKey "events.secret.tokenKey" $v.events.secret.tokenKey
    "events.secret.adminTokenKey" $v.events.secret.adminTokenKey "keda.secret.usernameKey" $v.keda.secret.usernameKey
    "keda.secret.passwordKey" $v.keda.secret.passwordKey "setup.broker.secret.passwordKey" $v.setup.broker.secret.passwordKey
    "rabbitmq.ca.key" $v.rabbitmq.ca.key "s3.ca.key" $v.s3.ca.key "postgres.ca.key" $v.postgres.ca.key }}
{{- include "detektor.must" (list $at $value "^[-._a-zA-Z0-9]+$" "be a key as secrets have them: letters, digits, '-', '_' and '.'") }}
{{- end }}
{{- range $i, $secret := $v.dispatcher.cameraSecrets }}
{{- /* The volume's name has it in it, and 63 characters at most. */}}
{{- include "detektor.must" (list (printf "dispatcher.cameraSecrets[%d]" $i) $secret "^[a-z0-9]([-a-z0-9]{0,54}[a-z0-9])?$" "have small letters, digits and '-', and at most 56 characters") }}
{{- end }}
{{- range $function, $_ := $v.functions }}
{{- include "detektor.must" (list (printf "The name of functions.%s" $function) $function "^[a-z][a-z0-9_]*$" "begin with a small letter and go on with those, digits and '_'") }}
{{- if has $function (list "dispatcher" "events" "balancer" "rabbitmq" "s3" "postgres") }}
{{- fail (printf "functions.%s is called as another section of the configuration is: give it another name" $function) }}
{{- end }}
{{- end }}
{{- with $v.fullnameOverride }}
{{- include "detektor.must" (list "fullnameOverride" . "^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$" "begin with a small letter and go on with those, digits and '-', 40 characters at most") }}
{{- end }}
{{- range $i, $arn := $v.setup.bucket.notify }}
{{- include "detektor.must" (list (printf "setup.bucket.notify[%d]" $i) $arn "^arn:" "begin with arn:") }}
{{- end }}
{{- include "detektor.must" (list "test.footage" $v.test.footage "^/" "begin with /") }}
{{- end -}}

{{/* Settings that are not set as settings, by section, and why; "*" is each role. */}}
{{- define "detektor.notSettings" -}}
"*":
  drain_ms: it follows from the value drainSeconds, which is for all
  listen: probes and services ask pods at port 8080
  allow_unauthenticated: all roles but events are open to the cluster, and events asks for a token
dispatcher:
  name: each process is called as its pod is
  spool_dir: a volume of the pod is there
  spool_bytes: it follows from dispatcher.spoolMebibytes
balancer:
  name: each process is called as its pod is
events:
  token_file: it follows from events.secret
  admin_token_file: it follows from events.secret
rabbitmq:
  url: it follows from rabbitmq.url
  management_url: it follows from rabbitmq.managementUrl
  user: it follows from rabbitmq.user
  password_file: it follows from rabbitmq.secret
  ca_file: it follows from rabbitmq.ca
  partitions: it follows from rabbitmq.partitions
s3:
  bucket: it follows from s3.bucket
  endpoint: it follows from s3.endpoint
  region: it follows from s3.region
  path_style: it follows from s3.pathStyle
  access_key_file: it follows from s3.secret
  secret_key_file: it follows from s3.secret
  ca_file: it follows from s3.ca
postgres:
  url: it follows from postgres.url
  user: it follows from postgres.user
  password_file: it follows from postgres.secret
  ca_file: it follows from postgres.ca
{{- end -}}

{{/* Every setting with its default, as docs/settings.md has them. */}}
{{- define "detektor.knownSettings" -}}
{{ .Files.Get "files/settings.json" }}
{{- end -}}

{{/* What roles will read, with the defaults of what nobody set. */}}
{{- define "detektor.allSettings" -}}
{{- mergeOverwrite (include "detektor.knownSettings" . | fromJson) (include "detektor.sections" . | fromJson) | toJson }}
{{- end -}}

{{- define "detektor.checkSettings" -}}
{{- $places := list }}
{{- range $section := list "dispatcher" "events" "balancer" }}
{{- $places = append $places (dict "at" (printf "%s.settings" $section) "section" $section "settings" (get $.Values $section).settings) }}
{{- end }}
{{- range $section, $f := .Values.functions }}
{{- $places = append $places (dict "at" (printf "functions.%s.settings" $section) "section" $section "settings" $f.settings) }}
{{- end }}
{{- range $section, $settings := .Values.settings }}
{{- $places = append $places (dict "at" (printf "settings.%s" $section) "section" $section "settings" $settings) }}
{{- end }}
{{- $known := include "detektor.knownSettings" . | fromJson }}
{{- $not := include "detektor.notSettings" . | fromYaml }}
{{- range $place := $places }}
{{- $why := merge (dict) (get $not $place.section | default dict) (get $not "*") }}
{{- range $setting, $_ := $place.settings }}
{{- $at := printf "%s.%s" $place.at $setting }}
{{- if hasKey $why $setting }}
{{- fail (printf "%s cannot be set there: %s" $at (get $why $setting)) }}
{{- else if not (hasKey $known $place.section) }}
{{- /* A function of one's own has settings of its own. */}}
{{- include "detektor.must" (list (printf "The name of %s" $at) $setting "^[a-z0-9_]+$" "have small letters, digits and '_'") }}
{{- else if not (hasKey (get $known $place.section) $setting) }}
{{- fail (printf "%s: there is no such setting; docs/settings.md lists those of %s" $at $place.section) }}
{{- end }}
{{- end }}
{{- end }}
{{- $settings := include "detektor.allSettings" . | fromJson }}
{{- $dispatcher := $settings.dispatcher }}
{{- $balancer := $settings.balancer }}
{{- if ne (int $dispatcher.ttl_ms) (int $balancer.ttl_ms) }}
{{- fail (printf "the dispatcher's ttl_ms is %v, and the balancer's is %v: they have to be the same, since both say by it whether a dispatcher lives" $dispatcher.ttl_ms $balancer.ttl_ms) }}
{{- end }}
{{- range $sign, $ms := dict "dispatcher's beat_ms" $dispatcher.beat_ms "balancer's interval_ms" $balancer.interval_ms }}
{{- if lt (int $dispatcher.ttl_ms) (mul 3 (int $ms)) }}
{{- fail (printf "ttl_ms is %v, and the %s is %v: it has to be three times that at least, since two signs of life may be late" $dispatcher.ttl_ms $sign $ms) }}
{{- end }}
{{- end }}
{{- if ne (int $settings.merge.hole_wait_ms) (int $balancer.hole_wait_ms) }}
{{- fail (printf "settings.merge.hole_wait_ms is %v, and settings.balancer.hole_wait_ms is %v: they have to be the same, since the balancer waits in merge's stead for a camera that is silent" $settings.merge.hole_wait_ms $balancer.hole_wait_ms) }}
{{- end }}
{{- end -}}

{{- define "detektor.checkFunctions" -}}
{{- $settings := include "detektor.allSettings" . | fromJson }}
{{- $taken := dict "dispatcher" "the dispatcher" "events" "the events role" "balancer" "the balancer" "setup" "the setup job" }}
{{- range $name, $f := .Values.functions }}
{{- $at := printf "functions.%s" $name }}
{{- include "detektor.must" (list (printf "%s.component" $at) $f.component "^[a-z]([-a-z0-9]{0,18}[a-z0-9])?$" "begin with a small letter and go on with those, digits and '-', 20 characters at most") }}
{{- with get $taken $f.component }}
{{- fail (printf "%s.component is %s, and %s is called so already: each deployment needs a name of its own" $at $f.component .) }}
{{- end }}
{{- $_ := set $taken $f.component (printf "that of %s" $at) }}
{{- include "detektor.must" (list (printf "%s.queues" $at) $f.queues "^\\^.+\\$$" "be a regular expression over whole names: ^...$") }}
{{- if gt (int $f.scaling.min) (int $f.scaling.max) }}
{{- fail (printf "%s.scaling: min %v is more than max %v" $at $f.scaling.min $f.scaling.max) }}
{{- end }}
{{- if and (eq (int $f.scaling.min) 0) (not $.Values.keda.enabled) }}
{{- fail (printf "%s.scaling.min is 0, but keda.enabled is false: without KEDA nothing would ever start a pod. Set keda.enabled, or scaling.min to 1 or more" $at) }}
{{- end }}
{{- if and $f.gpu.enabled (hasKey $f.gpu "count") (lt (int $f.gpu.count) 1) }}
{{- fail (printf "%s.gpu is enabled, but its count is %v" $at $f.gpu.count) }}
{{- end }}
{{- $s := get $settings $name }}
{{- if and (eq $name "detect") $s.workers }}
{{- if ne (add (int $s.workers) (int $s.ahead)) (int $f.permits) }}
{{- fail (printf "%s.permits is %v, but its workers (%v) and ahead (%v) together are %v: scaling would go by a wrong number" $at $f.permits $s.workers $s.ahead (add (int $s.workers) (int $s.ahead))) }}
{{- end }}
{{- end }}
{{- if eq $name "merge" }}
{{- if ne (mul (int $s.batches) (int $s.batch_max)) (int $f.permits) }}
{{- fail (printf "%s.permits is %v, but its batches (%v) times batch_max (%v) are %v: scaling would go by a wrong number" $at $f.permits $s.batches $s.batch_max (mul (int $s.batches) (int $s.batch_max))) }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "detektor.checkRest" -}}
{{- $parts := dict "dispatcher" .Values.dispatcher "events" .Values.events "balancer" .Values.balancer }}
{{- range $name, $f := .Values.functions }}{{ $_ := set $parts (printf "functions.%s" $name) $f }}{{ end }}
{{- range $at, $part := $parts }}
{{- range $name, $_ := $part.env }}
{{- include "detektor.must" (list (printf "The name of %s.env.%s" $at $name) $name "^[A-Za-z_][A-Za-z0-9_]*$" "have letters, digits and '_'") }}
{{- end }}
{{- range $kind := list "requests" "limits" }}
{{- range $resource, $amount := index ($part.resources | default dict) $kind }}
{{- include "detektor.must" (list (printf "%s.resources.%s.%s" $at $kind $resource) $amount "^[0-9]+(\\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?$" "be an amount, such as 500m, 2 or 512Mi") }}
{{- end }}
{{- end }}
{{- end }}
{{- with .Values.events.ingress }}
{{- if and .enabled (not .host) }}
{{- fail "events.ingress is enabled, but has no host" }}
{{- end }}
{{- if and .enabled (not .tlsSecret) (not .allowWithoutTls) }}
{{- fail "events.ingress is enabled without tlsSecret: tokens would go over the network in clear. Name a secret with a certificate, or set allowWithoutTls: true where something in front of it encrypts" }}
{{- end }}
{{- end }}
{{- if and .Values.priorityClass.create (not .Values.priorityClass.name) }}
{{- fail "priorityClass.create is true, but it has no name" }}
{{- end }}
{{- if and .Values.setup.broker.user (not .Values.setup.broker.secret.name) }}
{{- fail "setup.broker.user is set, but setup.broker.secret.name is not: where is its password?" }}
{{- end }}
{{- if eq .Values.image.tag "latest" }}
{{- fail "image.tag is latest: nobody could say what runs, and nodes would run different ones. Name a version" }}
{{- end }}
{{- end -}}
