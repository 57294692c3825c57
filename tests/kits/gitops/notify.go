package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/argoproj/notifications-engine/pkg/api"
	"github.com/argoproj/notifications-engine/pkg/templates"
	"github.com/argoproj/notifications-engine/pkg/triggers"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// notification is what a trigger sends about one Application. Argo CD sends it once for each value of OncePer.
type notification struct {
	Message string `json:"message"`
	OncePer string `json:"oncePer"`
}

// notify evaluates a trigger of the ConfigMap argocd-notifications-cm as Argo CD's notifications controller does, and
// writes its templates.
func notify(path, trigger string) (judge, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var configMap corev1.ConfigMap
	if err := yaml.UnmarshalStrict(text, &configMap); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	config, err := api.ParseConfig(&configMap, &corev1.Secret{})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	conditions, err := triggers.NewService(config.Triggers)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	writers, err := templates.NewService(config.Templates)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	var context map[string]string
	if err := yaml.Unmarshal([]byte(configMap.Data["context"]), &context); err != nil {
		return nil, fmt.Errorf("%s: context: %w", path, err)
	}
	return func(application map[string]any) (any, error) {
		vars := map[string]any{"app": application, "context": context, "serviceType": "slack"}
		results, err := conditions.Run(trigger, vars)
		if err != nil {
			return nil, err
		}
		sent := []notification{}
		for _, result := range results {
			if !result.Triggered {
				continue
			}
			found, err := writers.FormatNotification(vars, result.Templates...)
			if err != nil {
				return nil, err
			}
			sent = append(sent, notification{Message: found.Message, OncePer: result.OncePer})
		}
		written, err := json.Marshal(sent)
		return json.RawMessage(written), err
	}, nil
}
