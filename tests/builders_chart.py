"""Values of the chart that the tests render: each a way that somebody installs it."""

from __future__ import annotations

from typing import Any

PROMETHEUS = {
    "namespaceLabels": {"kubernetes.io/metadata.name": "monitoring"},
    "podLabels": {"app.kubernetes.io/name": "prometheus"},
}
STORAGE = {"uri": "s3://alignment/default", "endpoint": "https://minio.storage:9000", "secretName": "boresight-storage"}

VALUES: dict[str, dict[str, Any]] = {
    "defaults": {},
    "one-replica": {"replicas": 1, "podDisruptionBudget": {"enabled": False}, "networkPolicy": {"enabled": False}},
    "two-namespaces": {
        "settings": {
            "watchNamespaces": ["team-vision", "team-audio"],
            "namespaces": {"team-vision": {"queueName": "team-vision", "limits": {"maxDevices": 32}}},
        },
    },
    "no-cluster-role": {
        "settings": {"watchNamespaces": ["boresight-system"]},
        "rbac": {"nodes": False, "aggregatedRoles": False},
    },
    "monitored": {
        "monitoring": {
            "prometheus": PROMETHEUS,
            "labels": {"release": "kube-prometheus"},
            "interval": "15s",
            "serviceMonitor": {"enabled": True},
            "podMonitor": {"enabled": True},
            "rules": {"enabled": True, "labels": {"team": "ml"}},
            "dashboards": {"enabled": True, "annotations": {"grafana_folder": "ML"}},
        },
        "settings": {"listIntervalSeconds": 600},
    },
    "bring-your-own": {
        "serviceAccount": {"create": False, "name": "ours"},
        "rbac": {"create": False, "aggregatedRoles": False},
        "image": {"repository": "registry.example.com/boresight-operator", "digest": "sha256:" + "0" * 64},
        "imagePullSecrets": [{"name": "pull"}],
    },
    "everything": {
        "image": {"tag": "0.1.0-rc.1", "pullPolicy": "Always"},
        "replicas": 3,
        "settings": {
            "workers": 8,
            "leaseName": "own",
            "leaseSeconds": 30,
            "metricsPort": 9191,
            "logLevel": "DEBUG",
            "defaults": {
                "clusterName": "north",
                "image": "registry.example.com/boresight-trainer:0.1.0",
                "storage": STORAGE,
                "podTemplate": {"nodeSelector": {"accelerator": "h100"}, "image": "registry.example.com/own:1"},
                "limits": {"maxRuns": 20},
                "runAsUser": 2147483647,
                "allowedImages": ["registry.example.com/*"],
                "allowedReadFrom": ["s3://shared/"],
            },
            "namespaces": {
                "team-vision": {"limits": {"maxDevices": 32}, "allowedTolerations": ["*"]},
                "team-audio": {"allowedImages": [], "allowedTolerations": ["gpu", "spot-?"]},
            },
        },
        "monitoring": {"prometheus": PROMETHEUS},
        "admissionPolicy": {"enabled": True},
        "networkPolicy": {"apiServers": [{"cidr": "10.0.0.1/32", "port": 6443}, {"cidr": "fd00::1/128", "port": 443}]},
        "gc": {
            "enabled": True,
            "stores": [{"name": "team", "uri": "s3://alignment/team", "secretName": "team-storage"}],
        },
        "serviceAccount": {"annotations": {"example.com/role": "operator"}},
        "resources": {"requests": {"cpu": 1}, "limits": {"memory": "1Gi"}},
        "env": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}],
        "podLabels": {"team": "ml"},
        "podAnnotations": {"example.com/note": "yes"},
        "nodeSelector": {"pool": "system"},
        "tolerations": [{"key": "system", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "priorityClassName": "system-cluster-critical",
        "topologySpreadConstraints": [
            {"topologyKey": "rack", "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {}}
        ],
    },
}
