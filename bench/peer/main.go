// Command peer is kubeflow trainer v2.0.0's controller manager as the benchmark of the operator needs it: its runtimes and
// its controllers, as its own main sets them up, without its validating webhooks (which would only cost it time) and with
// the rate limit of its client as a flag. Its own main leaves that at controller-runtime's default, 20 a second.
package main

import (
	"flag"
	"os"

	apiruntime "k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlpkg "sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	jobsetv1alpha2 "sigs.k8s.io/jobset/api/jobset/v1alpha2"
	schedulerpluginsv1alpha1 "sigs.k8s.io/scheduler-plugins/apis/scheduling/v1alpha1"

	trainer "github.com/kubeflow/trainer/v2/pkg/apis/trainer/v1alpha1"
	"github.com/kubeflow/trainer/v2/pkg/controller"
	runtimecore "github.com/kubeflow/trainer/v2/pkg/runtime/core"
)

func main() {
	qps := flag.Float64("qps", 0, "requests a second of its client; 0: its own default")
	probes := flag.String("probes", "127.0.0.1:0", "address of /readyz")
	flag.Parse()
	ctrl.SetLogger(zap.New())

	config := ctrl.GetConfigOrDie()
	if *qps > 0 {
		config.QPS, config.Burst = float32(*qps), int(2**qps)
	}
	if err := run(config, *probes); err != nil {
		ctrl.Log.Error(err, "ended")
		os.Exit(1)
	}
}

func run(config *rest.Config, probes string) error {
	scheme := apiruntime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(trainer.AddToScheme(scheme))
	utilruntime.Must(jobsetv1alpha2.AddToScheme(scheme))
	utilruntime.Must(schedulerpluginsv1alpha1.AddToScheme(scheme))
	manager, err := ctrl.NewManager(config, ctrl.Options{
		Scheme:                 scheme,
		Client:                 client.Options{Cache: &client.CacheOptions{Unstructured: true}},
		Metrics:                metricsserver.Options{BindAddress: "0"},
		HealthProbeBindAddress: probes,
	})
	if err != nil {
		return err
	}
	if err := manager.AddReadyzCheck("readyz", healthz.Ping); err != nil {
		return err
	}
	ctx := ctrl.SetupSignalHandler()
	runtimes, err := runtimecore.New(ctx, manager.GetClient(), manager.GetFieldIndexer())
	if err != nil {
		return err
	}
	if _, err := controller.SetupControllers(manager, runtimes, ctrlpkg.Options{}); err != nil {
		return err
	}
	return manager.Start(ctx)
}
