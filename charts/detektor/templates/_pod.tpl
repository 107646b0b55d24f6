{{/* Secrets as files, each under its own name. Takes {root, database, tokens}; a component is given only what it uses. */}}
{{- define "detektor.secretVolumes" -}}
{{- $v := .root.Values }}
- name: config
  configMap: {name: {{ include "detektor.fullname" .root }}-config}
- name: rabbitmq
  secret: {secretName: {{ $v.rabbitmq.secret.name }}, defaultMode: 0440, items: [{key: {{ $v.rabbitmq.secret.passwordKey }}, path: password}]}
{{- with $v.rabbitmq.ca.secret }}
- name: rabbitmq-ca
  secret: {secretName: {{ . }}, items: [{key: {{ $v.rabbitmq.ca.key }}, path: ca.pem}]}
{{- end }}
{{- if $v.s3.secret.name }}
- name: s3
  secret:
    secretName: {{ $v.s3.secret.name }}
    defaultMode: 0440
    items: [{key: {{ $v.s3.secret.accessKey }}, path: access-key}, {key: {{ $v.s3.secret.secretKey }}, path: secret-key}]
{{- end }}
{{- with $v.s3.ca.secret }}
- name: s3-ca
  secret: {secretName: {{ . }}, items: [{key: {{ $v.s3.ca.key }}, path: ca.pem}]}
{{- end }}
{{- if .database }}
- name: postgres
  secret: {secretName: {{ $v.postgres.secret.name }}, defaultMode: 0440, items: [{key: {{ $v.postgres.secret.passwordKey }}, path: password}]}
{{- with $v.postgres.ca.secret }}
- name: postgres-ca
  secret: {secretName: {{ . }}, items: [{key: {{ $v.postgres.ca.key }}, path: ca.pem}]}
{{- end }}
{{- end }}
{{- if .tokens }}
- name: events
  secret:
    secretName: {{ $v.events.secret.name }}
    defaultMode: 0440
    items: [{key: {{ $v.events.secret.tokenKey }}, path: token}, {key: {{ $v.events.secret.adminTokenKey }}, path: admin-token}]
{{- end }}
{{- end -}}

{{- define "detektor.secretMounts" -}}
{{- range include "detektor.secretVolumes" . | fromYamlArray }}
- {name: {{ .name }}, mountPath: {{ if eq .name "config" }}/etc/detektor{{ else }}/run/secrets/detektor/{{ .name }}{{ end }}, readOnly: true}
{{- end }}
{{- end -}}

{{- define "detektor.containerSecurity" -}}
{allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
{{- end -}}

{{- define "detektor.env" -}}
- {name: DETEKTOR_LOG_FORMAT, value: {{ .root.Values.logFormat }}}
{{- range $name, $value := .env }}
- {name: {{ $name }}, value: {{ $value | toString | quote }}}
{{- end }}
{{- end -}}

{{/* What every pod has in common, but for its containers. */}}
{{- define "detektor.podCommon" -}}
serviceAccountName: {{ include "detektor.fullname" .root }}-{{ .component }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - {name: {{ . }}}
{{- end }}
{{- end }}
{{- with .root.Values.priorityClass.name }}
priorityClassName: {{ . }}
{{- end }}
{{- with .root.Values.dnsConfig }}
dnsConfig:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/*
A role's pod. Takes {root, component, role, spec, database, tokens, gpu, volumes, mounts, settle}: `spec` is the component's values, `settle`
seconds to go on serving after others were told that it goes.
*/}}
{{- define "detektor.pod" -}}
{{- $v := .root.Values }}
{{- $gpu := and .gpu .gpu.enabled }}
metadata:
  labels:
    {{- include "detektor.labels" . | nindent 4 }}
    app: {{ include "detektor.app" . }}
  annotations:
    checksum/config: {{ include "detektor.checksum" . }}
    {{- if .tokens }}
    {{- with lookup "v1" "Secret" .root.Release.Namespace $v.events.secret.name }}
    checksum/tokens: {{ .data | toJson | sha256sum }}
    {{- end }}
    {{- end }}
    {{- with .spec.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  {{- include "detektor.podCommon" . | nindent 2 }}
  {{- if and $gpu .gpu.runtimeClassName }}
  runtimeClassName: {{ .gpu.runtimeClassName }}
  {{- end }}
  # The drain, the goodbye of at most 5 s that follows it, and as much to spare.
  terminationGracePeriodSeconds: {{ add $v.drainSeconds 10 (.settle | default 0) }}
  {{- if .database }}
  initContainers:
    - name: schema
      image: {{ include "detektor.image" .root }}
      imagePullPolicy: {{ $v.image.pullPolicy }}
      args: [migrate, --wait, --config, /etc/detektor/detektor.toml]
      env:
        {{- include "detektor.env" (dict "root" .root "env" dict) | nindent 8 }}
      securityContext: {{ include "detektor.containerSecurity" . }}
      {{- /* One short process with one connection, which only looks whether the tables are there. */}}
      resources: {requests: {cpu: 10m, memory: 32Mi}, limits: {memory: 128Mi}}
      volumeMounts:
        {{- include "detektor.secretMounts" . | nindent 8 }}
  {{- end }}
  containers:
    - name: {{ .component }}
      image: {{ include "detektor.image" .root }}
      imagePullPolicy: {{ $v.image.pullPolicy }}
      args: [{{ .role }}, --config, /etc/detektor/{{ include "detektor.configFile" . }}]
      env:
        {{- include "detektor.env" (dict "root" .root "env" .spec.env) | nindent 8 }}
      ports: [{name: http, containerPort: 8080}]
      livenessProbe: {httpGet: {path: /livez, port: http}, periodSeconds: 10, timeoutSeconds: 5, failureThreshold: 6}
      readinessProbe: {httpGet: {path: /readyz, port: http}, periodSeconds: 2, timeoutSeconds: 2, failureThreshold: 2}
      {{- with .settle }}
      lifecycle: {preStop: {sleep: {seconds: {{ . }}}}}
      {{- end }}
      securityContext: {{ include "detektor.containerSecurity" . }}
      {{- $resources := deepCopy .spec.resources }}
      {{- if $gpu }}
      {{- $resources = mergeOverwrite $resources (dict "limits" (dict (.gpu.resource | default "nvidia.com/gpu") (.gpu.count | default 1))) }}
      {{- end }}
      resources:
        {{- toYaml $resources | nindent 8 }}
      volumeMounts:
        {{- include "detektor.secretMounts" . | nindent 8 }}
        {{- with .mounts }}
        {{- . | nindent 8 }}
        {{- end }}
  volumes:
    {{- include "detektor.secretVolumes" . | nindent 4 }}
    {{- with .volumes }}
    {{- . | nindent 4 }}
    {{- end }}
  topologySpreadConstraints:
    {{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
    - maxSkew: 1
      topologyKey: {{ . }}
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "detektor.selector" $ | nindent 10 }}
      matchLabelKeys: [pod-template-hash]
    {{- end }}
  {{- with merge (dict) (.spec.nodeSelector | default dict) (ternary (.gpu | default dict).nodeSelector dict (not (not $gpu)) | default dict) }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .spec.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  # A node that fell silent is given up after {{ $v.nodeGoneSeconds }} s, not after five minutes.
  tolerations:
    {{- range list "not-ready" "unreachable" }}
    - {key: node.kubernetes.io/{{ . }}, operator: Exists, effect: NoExecute, tolerationSeconds: {{ $v.nodeGoneSeconds }}}
    {{- end }}
    {{- with concat (.spec.tolerations | default list) (ternary (.gpu | default dict).tolerations list (not (not $gpu)) | default list) }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}

{{/* What goes beside each deployment: an account, a way to its metrics, and a budget. Takes {root, component, spec, least}. */}}
{{- define "detektor.beside" -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ include "detektor.fullname" .root }}-{{ .component }}
  labels:
    {{- include "detektor.labels" . | nindent 4 }}
  {{- with .spec.serviceAccountAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
automountServiceAccountToken: false
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ include "detektor.fullname" .root }}-{{ .component }}
  labels:
    {{- include "detektor.labels" . | nindent 4 }}
spec:
  {{- if ge (int .least) 3 }}
  minAvailable: 2
  {{- else }}
  # Of so few none could be spared by a minimum, and no node could ever be drained.
  maxUnavailable: 1
  {{- end }}
  # A pod that does not get ready anyway must not hold a drain up.
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "detektor.selector" . | nindent 6 }}
{{- end -}}

{{- define "detektor.headlessService" -}}
apiVersion: v1
kind: Service
metadata:
  name: {{ include "detektor.fullname" .root }}-{{ .component }}
  labels:
    {{- include "detektor.labels" . | nindent 4 }}
spec:
  # For Prometheus, which asks each pod.
  clusterIP: None
  selector:
    {{- include "detektor.selector" . | nindent 4 }}
  ports: [{name: http, port: 8080, targetPort: http}]
{{- end -}}
