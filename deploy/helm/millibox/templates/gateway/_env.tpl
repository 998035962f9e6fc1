{{/* What the chart itself tells a gateway, as a list of variables. */}}
{{- define "millibox.gatewayEnv" -}}
{{- $gateway := .Values.gateway }}
- { name: MILLIBOX_LISTEN, value: '0.0.0.0:{{ include "millibox.gatewayPort" . }}' }
- { name: MILLIBOX_NODE_SECRET_FILE, value: /etc/millibox/node/node-secret }
- { name: MILLIBOX_API_KEYS_FILE, value: /etc/millibox/keys/api-keys }
- { name: MILLIBOX_LOG_LEVEL, value: {{ $gateway.logLevel }} }
- { name: MILLIBOX_DRAIN_MS, value: '{{ mul $gateway.drainSeconds 1000 }}' }
- { name: MILLIBOX_NODE_GRACE_MS, value: '{{ mul $gateway.nodeGraceSeconds 1000 }}' }
- { name: MILLIBOX_LINK_PATIENCE_MS, value: '{{ mul $gateway.linkPatienceSeconds 1000 }}' }
- { name: MILLIBOX_RESUME_MS, value: '{{ mul $gateway.resumeSeconds 1000 }}' }
- { name: MILLIBOX_QUEUE_MAX, value: '{{ int $gateway.queue.max }}' }
- { name: MILLIBOX_QUEUE_WAIT_MS, value: '{{ mul $gateway.queue.waitSeconds 1000 }}' }
{{- with $gateway.defaultImage }}
- { name: MILLIBOX_DEFAULT_IMAGE, value: {{ . | quote }} }
{{- end }}
{{- with $gateway.previewDomain }}
- { name: MILLIBOX_PREVIEW_DOMAIN, value: {{ . | quote }} }
{{- end }}
{{- if include "millibox.tenantsSecretName" . }}
- { name: MILLIBOX_TENANTS_FILE, value: /etc/millibox/tenants/tenants.json }
{{- end }}
{{- include "millibox.discoveryEnv" . | nindent 0 }}
{{- if .Values.redis.existingSecret }}
- { name: MILLIBOX_REDIS_URL_FILE, value: /etc/millibox/redis/redis-url }
{{- else if .Values.redis.url }}
- { name: MILLIBOX_REDIS_URL, value: {{ .Values.redis.url | quote }} }
{{- end }}
{{- end -}}
