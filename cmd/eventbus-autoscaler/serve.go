package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/photo-management/event-bus/web"
)

// serve runs until ctx ends, or something ends it.
func serve(ctx context.Context, cfg config, log *zap.Logger) error {
	kube, err := newKubernetes(cfg.kubernetes)
	if err != nil {
		return err
	}
	defer kube.Close()
	replicas, err := newReplicas(cfg.metrics)
	if err != nil {
		return err
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	scaler := newAutoscaler(cfg, kube, replicas.Ask, newMetrics(registry), log)

	work, stop := context.WithCancelCause(ctx)
	var pages sync.WaitGroup
	defer pages.Wait()
	defer stop(nil)
	if cfg.listen != "" {
		ln, err := new(net.ListenConfig).Listen(work, "tcp", cfg.listen)
		if err != nil {
			return fmt.Errorf("listen: %w", err)
		}
		log.Info("listening", zap.Stringer("address", ln.Addr()))
		pages.Go(func() {
			if err := web.Serve(work, ln, handler(registry), web.ServeConfig{Grace: time.Second}); err != nil {
				stop(err)
			}
		})
	}
	log.Info("scaling", zap.String("namespace", cfg.kubernetes.namespace), zap.String("deployment", cfg.kubernetes.deployment),
		zap.Any("limits", cfg.limits), zap.Duration("interval", cfg.interval), zap.Bool("dryRun", cfg.dryRun))
	if err := scaler.run(work); err != nil || ctx.Err() != nil {
		return err
	}
	return context.Cause(work)
}

// handler is for probes and Prometheus.
func handler(metrics prometheus.Gatherer) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health/live", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{MaxRequestsInFlight: 2}))
	return mux
}

func newLogger(cfg config, to io.Writer) *zap.Logger {
	enc := zap.NewProductionEncoderConfig()
	enc.TimeKey, enc.EncodeTime = "time", zapcore.RFC3339NanoTimeEncoder
	return zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(enc), zapcore.Lock(zapcore.AddSync(to)), cfg.logLevel))
}
