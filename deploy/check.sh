#!/bin/sh
# Static checks of everything that is deployed. Run by `make check`; the folder of the tools is the argument.
set -eu
cd "$(dirname "$0")/.."
tools=$1
kubernetes=deploy/kubernetes

"$tools/hadolint" docker/Dockerfile
"$tools/check-jsonschema" --builtin-schema vendor.compose-spec \
  docker-compose.yml docker/compose.*.yml docker/stack.yml
"$tools/kubernetes-validate" --strict --quiet $kubernetes/secret.example.yaml \
  $kubernetes/base/api.yaml $kubernetes/base/worker.yaml $kubernetes/base/network.yaml
"$tools/check-jsonschema" --schemafile $kubernetes/keda.schema.json $kubernetes/base/keda-*.yaml

if command -v promtool >/dev/null; then
  promtool check config --syntax-only docker/monitoring/prometheus.yml >/dev/null
  promtool check rules docker/monitoring/alerts.yml >/dev/null
else
  echo "promtool was not run: Prometheus is not installed."
fi

if docker compose version >/dev/null 2>&1; then
  export VSSM_REDIS_URL=redis://host:6379/0 VSSM_REDIS_BIND=127.0.0.1 VSSM_REDIS_PASSWORD=password VSSM_SIGNING_KEY=key
  docker compose --env-file /dev/null --profile monitoring config -q
  for override in docker/compose.*.yml; do
    docker compose --env-file /dev/null -f docker-compose.yml -f "$override" config -q
  done
  docker stack config -c docker/stack.yml >/dev/null
else
  echo "docker compose config was not run: Compose v2 is not installed."
fi

if kubectl kustomize --help >/dev/null 2>&1; then
  for folder in base cpu; do
    rendered=$(kubectl kustomize $kubernetes/$folder)
    echo "$rendered" | "$tools/kubernetes-validate" --strict --no-warn --quiet /dev/stdin
  done
else
  echo "kubectl kustomize was not run: kubectl is not installed."
fi
