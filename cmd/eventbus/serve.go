package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/photo-management/event-bus/adapter"
	"github.com/photo-management/event-bus/auth"
	"github.com/photo-management/event-bus/scaling"
	"github.com/photo-management/event-bus/server"
	"github.com/photo-management/event-bus/web"
)

// serve runs the service.
func serve(ctx context.Context, args []string, std stdio) error {
	var cfg config
	fs := newFlags("serve", "Runs the service until it is told to stop (SIGTERM), then drains.", std)
	cfg.flags(fs)
	if err := cfg.read(fs, args, nil); err != nil {
		return err
	}
	if cfg.dev && cfg.jwtSecret == "" && cfg.jwt.KeyFile == "" && cfg.jwt.JWKSURL == "" {
		cfg.jwtSecret = rand.Text() + rand.Text()
	}
	if err := cfg.check(); err != nil {
		return err
	}
	level := zap.NewAtomicLevelAt(cfg.monitoring.logLevel)
	log := newLogger(cfg, level, std)
	if weak := cfg.jwt.Weak(); weak != "" && !cfg.dev {
		log.Warn("weak configuration", zap.String("problem", weak))
	}
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	return serveWith(ctx, cfg, std, log, level, reloads{hangups, args, std})
}

// ballastBytes make the collector wait for 16 MiB of garbage where it would wait for 4: collecting a small heap
// twenty times a second shrinks the stacks of readers each time, only for them to grow again. They are never touched,
// so they are no resident memory.
const ballastBytes = 16 << 20

// slowStart is after how long checks begin, though the service is not ready yet.
const slowStart = 3 * time.Second

// serveWith builds the service bottom up, runs it, and takes it down top first.
func serveWith(ctx context.Context, cfg config, std stdio, log *zap.Logger, level zap.AtomicLevel, hangups reloads) error {
	ballast := make([]byte, ballastBytes)
	defer runtime.KeepAlive(ballast)
	below, stop := context.WithCancel(context.WithoutCancel(ctx)) // what outlives the drain
	var background sync.WaitGroup
	defer background.Wait()
	defer stop()

	if cfg.embedded() {
		redis, err := startEmbedded(cfg.embeddedPort)
		if err != nil {
			return err
		}
		defer redis.Close()
		background.Go(func() { _ = redis.Run(below) })
		cfg.embeddedAddr = redis.Addr()
		cfg.redis.URL = "redis://" + cfg.embeddedAddr
	}
	adapter.QuietRedis(log)
	redis, err := adapter.DialRedis(ctx, cfg.redis, log)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil // told to stop before it had begun
	case err != nil:
		return err
	}
	defer redis.Close()

	public, err := net.Listen("tcp", cfg.websocketAddr())
	if err != nil {
		return fmt.Errorf("websocket-port (WEBSOCKET_PORT): %w", err)
	}
	defer public.Close()
	internal, err := net.Listen("tcp", cfg.healthAddr())
	if err != nil {
		return fmt.Errorf("health-port (HEALTH_PORT): %w", err)
	}
	defer internal.Close()
	publicConfig, internalConfig, certificates, err := listenConfigs(cfg, log)
	if err != nil {
		return err
	}
	if certificates != nil {
		cfg.peerTLS = certificates.Peers()
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	spans, err := startTracing(ctx, cfg.monitoring.tracing, cfg.cluster.replicaName(), log)
	if err != nil {
		return err
	}
	defer spans.stop() // when all that makes some has ended
	s, err := newReplica(ctx, cfg, redis, internal.Addr(), registry, spans.tracerProvider(), level, log)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil
	case err != nil:
		return err
	}
	srv := s.srv
	var metrics net.Listener
	if cfg.monitoring.metrics && cfg.monitoring.metricsPort != 0 {
		if metrics, err = net.Listen("tcp", net.JoinHostPort(cfg.healthHost, strconv.Itoa(cfg.monitoring.metricsPort))); err != nil {
			return fmt.Errorf("metrics-port (METRICS_PORT): %w", err)
		}
		defer metrics.Close()
	}
	announce(cfg, std, log, public.Addr(), internal.Addr())

	var failed [4]error
	running, cancel := context.WithCancel(ctx) // ends when it shall, or when one of the listeners has failed
	defer cancel()
	serving, stopServing := context.WithCancel(below)
	recording, recorded := context.WithCancel(context.WithoutCancel(ctx)) // the audit ends when nobody reports any more
	var recorder sync.WaitGroup
	recorder.Go(func() { _ = s.audit.Run(recording) })
	defer recorder.Wait()
	defer recorded()
	background.Go(func() {
		select { // what it finds before would be shown for a while
		case <-srv.Started():
		case <-time.After(slowStart): // which is to be seen
		case <-below.Done():
		}
		_ = s.health.Run(below)
	})
	background.Go(func() { _ = s.publishing.Run(below) })
	s.window = scaling.NewWindow(cfg.analysis, registry, log)
	background.Go(func() { _ = s.window.Run(below) })
	background.Go(func() { hangups.watch(below, s, cfg, certificates) })
	var listener sync.WaitGroup
	listener.Go(func() {
		select { // until then, connections wait where the kernel keeps them
		case <-srv.Accepting():
			failed[0] = web.Serve(serving, public, publicHandler(cfg, srv, redis), publicConfig)
		case <-serving.Done():
		}
		cancel()
	})
	background.Go(func() { // last to go, so that the probes hear of the drain
		admin := http.NewServeMux()
		admin.Handle("/", spans.traced(web.NewAdmin(web.AdminConfig{
			Ready: srv.Ready, Metrics: gatherer(cfg, registry), MetricsPath: cfg.monitoring.metricsPath, Health: s.health, API: s.apiConfig(cfg),
		})))
		admin.Handle("/socket.io/", srv.Forwarded()) // from the other replicas
		failed[1] = web.Serve(below, internal, admin, internalConfig)
		cancel()
	})
	if metrics != nil {
		background.Go(func() {
			failed[3] = web.Serve(below, metrics, web.NewMetrics(cfg.monitoring.metricsPath, registry), internalConfig)
			cancel()
		})
	}
	failed[2] = srv.Run(running)
	stopServing()
	listener.Wait()
	stop()
	background.Wait()
	log.Info("stopped")
	return errors.Join(failed[:]...)
}

// publicHandler is what the world sees.
func publicHandler(cfg config, srv *server.Server, redis *adapter.Redis) http.Handler {
	var site web.SiteConfig
	if cfg.dev {
		site.Dev = &web.DevConfig{
			Verify: func(ctx context.Context, token string) error {
				_, err := srv.Verify(ctx, token)
				return err
			},
			Publish: func(ctx context.Context, channel string, event []byte) error {
				return redis.Client().Publish(ctx, channel, event).Err()
			},
		}
	}
	mux := http.NewServeMux()
	mux.Handle("/socket.io/", web.Bundles("/socket.io/", srv))
	mux.Handle("/", web.NewSite(site))
	return mux
}

func startEmbedded(port int) (*adapter.Embedded, error) {
	redis, err := adapter.StartEmbedded(net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil && port != 0 {
		redis, err = adapter.StartEmbedded("127.0.0.1:0") // the port is taken, perhaps by another of us
	}
	return redis, err
}

func newLogger(cfg config, level zap.AtomicLevel, std stdio) *zap.Logger {
	enc := zap.NewProductionEncoderConfig()
	enc.TimeKey, enc.EncodeTime = "time", zapcore.RFC3339NanoTimeEncoder
	encoder := zapcore.NewJSONEncoder(enc)
	if cfg.monitoring.logFormat == "console" {
		enc.EncodeLevel = zapcore.CapitalLevelEncoder
		encoder = zapcore.NewConsoleEncoder(enc)
	}
	return zap.New(zapcore.NewCore(encoder, zapcore.Lock(zapcore.AddSync(std.err)), level))
}

// gatherer is what is shown of the metrics on the health port.
func gatherer(cfg config, registry *prometheus.Registry) prometheus.Gatherer {
	if !cfg.monitoring.metrics {
		return nil
	}
	return registry
}

// listenConfigs say how the two ports are served.
func listenConfigs(cfg config, log *zap.Logger) (public, internal web.ServeConfig, certificates *web.Certificates, err error) {
	errorLog, _ := zap.NewStdLogAt(log, zapcore.DebugLevel)
	public.ErrorLog, internal.ErrorLog = errorLog, errorLog
	if cfg.certFile == "" {
		return public, internal, nil, nil
	}
	certificates, err = web.LoadCertificates(web.CertificatesConfig{CertFile: cfg.certFile, KeyFile: cfg.keyFile, Changed: func(err error) {
		if err != nil {
			log.Error("the changed certificate is not used, the old one stays", zap.Error(err))
			return
		}
		log.Info("the changed certificate is in use")
	}})
	if err != nil {
		return public, internal, nil, fmt.Errorf("tls-cert-file (TLS_CERT_FILE): %w", err)
	}
	public.TLS = certificates.TLS()
	if cfg.healthTLS {
		internal.TLS = certificates.TLS()
	}
	return public, internal, certificates, nil
}

// announce says where the service listens: to machines in the log, and with --dev to people.
func announce(cfg config, std stdio, log *zap.Logger, public, internal net.Addr) {
	fields := []zap.Field{zap.Stringer("websocket", public), zap.Stringer("health", internal)}
	if cfg.embeddedAddr != "" {
		fields = append(fields, zap.String("redis", cfg.embeddedAddr))
	}
	if !cfg.dev {
		log.Info("listening", fields...)
		return
	}
	watch := ""
	fmt.Fprintf(std.out, "Event Bus Service, in development mode\n\n  Demo page  http://%s/", public)
	if cfg.jwtSecret != "" {
		token, err := cfg.jwt.Sign(auth.Identity{UserID: "demo", Roles: []string{server.AdminRole}, Permissions: []string{"photo:read:*"}}, cfg.expiresIn)
		if err != nil {
			log.Error("no token", zap.Error(err))
		}
		fmt.Fprintf(std.out, "#token=%s\n  Token      %s", token, token)
		watch = fmt.Sprintf("Watch from one more, as a browser would:\n\n  %s tail --url http://%s --photo photo-42 --token %s\n\n", os.Args[0], public, token)
	}
	at := ""
	if cfg.embeddedAddr != "" {
		at = " --redis-url " + cfg.redis.URL
		fmt.Fprintf(std.out, "\n  Redis      %s (embedded)", cfg.redis.URL)
	}
	fmt.Fprintf(std.out, `

Publish an event from another terminal, as any Redis client could:

  %s publish%s --durable --type photo.processing.started --data '{"photoId":"photo-42","jobId":"job-1","stages":["thumbnail"]}'

%s`, os.Args[0], at, watch)
	log.Info("listening", fields...)
}
