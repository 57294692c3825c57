module boresight.dev/kits/published

go 1.24.0

// Nothing is built of these: their files say what Kubernetes objects look like.
require (
	github.com/prometheus-operator/prometheus-operator v0.85.0
	k8s.io/kubernetes v1.34.4
)
