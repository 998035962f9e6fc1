{{/* Names: at most 52 characters, so that what is appended fits a DNS label. */}}
{{- define "millibox.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* What pods are found by. Never changes: selectors cannot. Call with (dict "root" $ "component" "gateway"). */}}
{{- define "millibox.selector" -}}
app.kubernetes.io/name: {{ default .root.Chart.Name .root.Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .root.Release.Name | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "millibox.labels" -}}
{{ include "millibox.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{/* By its digest where there is one: a tag beside it would say nothing. Call with (dict "root" $ "image" .Values….image). */}}
{{- define "millibox.image" -}}
{{- if .image.digest -}}
{{- printf "%s@%s" .image.repository .image.digest -}}
{{- else -}}
{{- printf "%s:%s" .image.repository (default .root.Chart.AppVersion .image.tag) -}}
{{- end -}}
{{- end -}}

{{- define "millibox.nodeSecretName" -}}
{{- default (printf "%s-node" (include "millibox.fullname" .)) .Values.nodeSecret.existingSecret -}}
{{- end -}}

{{- define "millibox.apiKeysSecretName" -}}
{{- default (printf "%s-api-keys" (include "millibox.fullname" .)) .Values.auth.existingSecret -}}
{{- end -}}

{{/* Empty without tenants. */}}
{{- define "millibox.tenantsSecretName" -}}
{{- if .Values.tenants.existingSecret -}}
{{- .Values.tenants.existingSecret -}}
{{- else if or .Values.tenants.defaults .Values.tenants.named -}}
{{- include "millibox.fullname" . }}-tenants
{{- end -}}
{{- end -}}

{{- define "millibox.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (printf "%s-gateway" (include "millibox.fullname" .)) .Values.serviceAccount.name -}}
{{- else -}}
{{- required "serviceAccount.name: name the account, or let serviceAccount.create make one" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* Empty without Redis. */}}
{{- define "millibox.hasRedis" -}}
{{- if or .Values.redis.url .Values.redis.existingSecret -}}yes{{- end -}}
{{- end -}}

{{- define "millibox.gatewayReplicas" -}}
{{- $redis := include "millibox.hasRedis" . -}}
{{- $replicas := .Values.gateway.replicas -}}
{{- if kindIs "invalid" $replicas -}}
{{- ternary 2 1 (eq $redis "yes") -}}
{{- else -}}
{{- if and (gt (int $replicas) 1) (ne $redis "yes") -}}
{{- fail "gateway.replicas: several gateways need redis.existingSecret or redis.url, or a repeated create may be done twice" -}}
{{- end -}}
{{- int $replicas -}}
{{- end -}}
{{- end -}}

{{/* A value as text. To Helm the numbers of a file are floats, and it writes large ones as 3.6e+06. */}}
{{- define "millibox.text" -}}
{{- if and (kindIs "float64" .) (eq . (floor .)) -}}{{ printf "%.0f" . }}{{- else -}}{{ toString . }}{{- end -}}
{{- end -}}

{{/* A container's variables: the chart's own, and after them NAME: value as set by whoever installs it, which replaces one
     of the same name. A name that is there twice is refused by server-side apply. */}}
{{- define "millibox.containerEnv" -}}
{{- $set := .set | default dict }}
{{- range fromYamlArray .own }}
{{- if not (hasKey $set .name) }}
- {{ toYaml . | nindent 2 | trim }}
{{- end }}
{{- end }}
{{- range $name, $value := $set }}
- { name: {{ $name }}, value: {{ include "millibox.text" $value | quote }} }
{{- end }}
{{- end -}}

{{/* How gateways find agents. The selector names the release, so that two in one namespace do not share agents. */}}
{{- define "millibox.discoveryEnv" -}}
- { name: MILLIBOX_DISCOVERY, value: {{ .Values.discovery.mode }} }
{{- if eq .Values.discovery.mode "kubernetes" }}
{{- $selector := include "millibox.selector" (dict "root" . "component" "agent") }}
- { name: MILLIBOX_KUBERNETES_SELECTOR, value: {{ $selector | replace ": " "=" | replace "\n" "," | quote }} }
- { name: MILLIBOX_KUBERNETES_PORT, value: '{{ include "millibox.agentPort" . }}' }
- { name: MILLIBOX_KUBERNETES_NODES, value: {{ ternary "auto" "off" .Values.discovery.watchNodes | quote }} }
{{- else }}
{{- $host := printf "%s-agents.%s.svc.%s" (include "millibox.fullname" .) .Release.Namespace .Values.discovery.clusterDomain }}
- { name: MILLIBOX_DNS_NAMES, value: '{{ $host }}:{{ include "millibox.agentPort" . }}' }
{{- end }}
{{- end -}}

{{/* The port of agents, and that of gateways. */}}
{{- define "millibox.agentPort" -}}8701{{- end -}}

{{- /* Numbers and nothing else. */ -}}
{{- define "millibox.agentMetricsPort" -}}8702{{- end -}}
{{- define "millibox.gatewayPort" -}}8700{{- end -}}
