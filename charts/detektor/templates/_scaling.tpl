{{/* Segments a pod may hold before another one is wanted: depth at a steady load is rate x service time, so permits x how busy they are to be. */}}
{{- define "detektor.depthPerPod" -}}
{{- if .scaling.depthPerPod -}}{{ .scaling.depthPerPod }}{{- else -}}{{ mulf .permits 0.7 }}{{- end -}}
{{- end -}}

{{/* The virtual host of the broker's URL: "/" where it says %2f or nothing. */}}
{{- define "detektor.vhost" -}}
{{- $path := (urlParse .Values.rabbitmq.url).path | trimPrefix "/" -}}
{{- if or (eq $path "") (eq (lower $path) "%2f") -}}/{{- else -}}{{ $path }}{{- end -}}
{{- end -}}

{{/* Where KEDA finds the management API: it is in another namespace, where the name of a service alone says nothing. */}}
{{- define "detektor.kedaHost" -}}
{{- if .Values.keda.managementUrl -}}
{{- .Values.keda.managementUrl -}}
{{- else -}}
{{- $url := urlParse .Values.rabbitmq.managementUrl -}}
{{- $name := $url.hostname -}}
{{- if contains "." $name -}}
{{- .Values.rabbitmq.managementUrl -}}
{{- else -}}
{{- printf "%s://%s" $url.scheme ($url.host | replace $name (printf "%s.%s.svc" $name .Release.Namespace)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
