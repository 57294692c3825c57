// Command peer is what the operator is measured against, as their own mains set them up but without their webhooks (which
// would only cost them time) and with the rate limit of their clients as a flag:
//
//	peer trainer  kubeflow trainer v2.0.0's controller manager, TrainJob to JobSet; its own main leaves the limit at 20 a second
//	peer jobset   JobSet's, JobSet to Jobs, on which the former relies; its own main's limit is 500 a second
package main

import (
	"context"
	"flag"
	"os"

	apiruntime "k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlpkg "sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	jobset "sigs.k8s.io/jobset/api/jobset/v1alpha2"
	"sigs.k8s.io/jobset/pkg/controllers"
	schedulerplugins "sigs.k8s.io/scheduler-plugins/apis/scheduling/v1alpha1"

	trainer "github.com/kubeflow/trainer/v2/pkg/apis/trainer/v1alpha1"
	"github.com/kubeflow/trainer/v2/pkg/controller"
	runtimecore "github.com/kubeflow/trainer/v2/pkg/runtime/core"
)

var setups = map[string]func(context.Context, manager.Manager) error{"trainer": setupTrainer, "jobset": setupJobSet}

func main() {
	flags := flag.NewFlagSet("peer trainer|jobset", flag.ExitOnError)
	qps := flags.Float64("qps", 0, "requests a second of its client; 0: as many as its own main sets")
	probes := flags.String("probes", "127.0.0.1:0", "address of /readyz")
	if len(os.Args) < 2 || setups[os.Args[1]] == nil {
		flags.Usage()
		os.Exit(2)
	}
	_ = flags.Parse(os.Args[2:])
	ctrl.SetLogger(zap.New())
	if err := run(os.Args[1], *qps, *probes); err != nil {
		ctrl.Log.Error(err, "ended")
		os.Exit(1)
	}
}

func run(name string, qps float64, probes string) error {
	config := ctrl.GetConfigOrDie()
	if qps == 0 && name == "jobset" {
		qps = 500
	}
	if qps > 0 {
		config.QPS, config.Burst = float32(qps), int(qps)
	}
	scheme := apiruntime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(trainer.AddToScheme(scheme))
	utilruntime.Must(jobset.AddToScheme(scheme))
	utilruntime.Must(schedulerplugins.AddToScheme(scheme))
	manager, err := ctrl.NewManager(config, ctrl.Options{
		Scheme:                 scheme,
		Client:                 client.Options{Cache: &client.CacheOptions{Unstructured: name == "trainer"}},
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
	if err := setups[name](ctx, manager); err != nil {
		return err
	}
	return manager.Start(ctx)
}

func setupTrainer(ctx context.Context, manager manager.Manager) error {
	runtimes, err := runtimecore.New(ctx, manager.GetClient(), manager.GetFieldIndexer())
	if err != nil {
		return err
	}
	_, err = controller.SetupControllers(manager, runtimes, ctrlpkg.Options{})
	return err
}

func setupJobSet(ctx context.Context, manager manager.Manager) error {
	if err := controllers.SetupJobSetIndexes(ctx, manager.GetFieldIndexer()); err != nil {
		return err
	}
	if err := controllers.SetupPodIndexes(ctx, manager.GetFieldIndexer()); err != nil {
		return err
	}
	client, scheme, record := manager.GetClient(), manager.GetScheme(), manager.GetEventRecorderFor
	if err := controllers.NewJobSetReconciler(client, scheme, record("jobset")).SetupWithManager(manager); err != nil {
		return err
	}
	return controllers.NewPodReconciler(client, scheme, record("pod")).SetupWithManager(manager)
}
