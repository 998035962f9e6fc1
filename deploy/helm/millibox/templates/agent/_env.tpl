{{/* What the chart itself tells an agent, as a list of variables. */}}
{{- define "millibox.agentEnv" -}}
{{- $agent := .Values.agent }}
{{- $port := include "millibox.agentPort" . }}
{{- $metricsPort := include "millibox.agentMetricsPort" . }}
{{- $scraped := .Values.serviceMonitor.enabled }}
- name: MILLIBOX_NODE_NAME
  valueFrom: { fieldRef: { fieldPath: spec.nodeName } }
{{- if $agent.hostNetwork }}
# The address that gateways know it by, and no other of the node.
- name: POD_IP
  valueFrom: { fieldRef: { fieldPath: status.podIP } }
- { name: MILLIBOX_AGENT_LISTEN, value: '$(POD_IP):{{ $port }}' }
{{- else }}
- { name: MILLIBOX_AGENT_LISTEN, value: '0.0.0.0:{{ $port }}' }
- { name: MILLIBOX_SANDBOX_UPLINK, value: host }
{{- end }}
{{- if $scraped }}
- { name: MILLIBOX_AGENT_METRICS_LISTEN, value: '{{ $agent.hostNetwork | ternary "$(POD_IP)" "0.0.0.0" }}:{{ $metricsPort }}' }
{{- end }}
- { name: MILLIBOX_NODE_SECRET_FILE, value: /etc/millibox/node/node-secret }
- { name: MILLIBOX_DATA_DIR, value: '{{ $agent.dataPath }}/agent' }
# On the node, where it outlives the image that it came in.
- { name: MILLIBOX_BOXINIT, value: '{{ $agent.dataPath }}/bin/boxinit' }
- { name: MILLIBOX_RUNTIME, value: {{ $agent.runtime }} }
{{- with $agent.ociProgram }}
- { name: MILLIBOX_OCI_PROGRAM, value: {{ . | quote }} }
{{- end }}
- { name: MILLIBOX_ON_STOP, value: {{ $agent.onStop }} }
- { name: MILLIBOX_LOG_LEVEL, value: {{ $agent.logLevel }} }
- { name: MILLIBOX_DEFAULT_IMAGE, value: {{ $agent.defaultImage | quote }} }
- { name: MILLIBOX_POOL_MIN, value: '{{ int $agent.pool.min }}' }
- { name: MILLIBOX_POOL_MAX, value: '{{ int $agent.pool.max }}' }
- { name: MILLIBOX_MAX_SANDBOXES, value: '{{ int $agent.maxSandboxes }}' }
- { name: MILLIBOX_MEMORY_OVERCOMMIT, value: '{{ include "millibox.text" $agent.memoryOvercommit }}' }
- { name: MILLIBOX_MIN_FREE_MEMORY_MB, value: '{{ int $agent.minFreeMemoryMb }}' }
- { name: MILLIBOX_IMAGES_BUDGET_MB, value: '{{ int $agent.imagesBudgetMb }}' }
{{- with $agent.registry.mirrors }}
{{- $pairs := list }}
{{- range $from, $to := . }}
{{- $pairs = append $pairs (printf "%s=%s" $from $to) }}
{{- end }}
- { name: MILLIBOX_REGISTRY_MIRRORS, value: {{ join "," $pairs | quote }} }
{{- end }}
{{- with $agent.registry.insecure }}
- { name: MILLIBOX_INSECURE_REGISTRIES, value: {{ join "," . | quote }} }
{{- end }}
{{- if $agent.registry.existingSecret }}
- { name: MILLIBOX_REGISTRY_AUTH_FILE, value: /etc/millibox/registry/config.json }
{{- end }}
{{- with $agent.resolvers }}
- { name: MILLIBOX_RESOLVERS, value: {{ join "," . | quote }} }
{{- end }}
{{- with $agent.sandboxSubnet }}
- { name: MILLIBOX_SANDBOX_SUBNET, value: {{ . | quote }} }
{{- end }}
{{- end -}}
