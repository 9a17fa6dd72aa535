package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/photo-management/event-bus/adapter"
	"github.com/photo-management/event-bus/auth"
	"github.com/photo-management/event-bus/routing"
	"github.com/photo-management/event-bus/server"
	"github.com/photo-management/event-bus/web"
)

// serve runs the service.
func serve(ctx context.Context, args []string, std stdio) error {
	var cfg config
	fs := newFlags("serve", "Runs the service until it is told to stop (SIGTERM), then drains.", std)
	cfg.flags(fs)
	if err := parseFlags(fs, args, nil); err != nil {
		return err
	}
	if cfg.dev && cfg.jwtSecret == "" && cfg.jwt.KeyFile == "" && cfg.jwt.JWKSURL == "" {
		cfg.jwtSecret = rand.Text() + rand.Text()
	}
	if err := cfg.check(); err != nil {
		return err
	}
	log := newLogger(cfg, std)
	if weak := cfg.jwt.Weak(); weak != "" && !cfg.dev {
		log.Warn("weak configuration", zap.String("problem", weak))
	}
	return serveWith(ctx, cfg, std, log)
}

// ballastBytes make the collector wait for 16 MiB of garbage where it would wait for 4: collecting a small heap
// twenty times a second shrinks the stacks of readers each time, only for them to grow again. They are never touched,
// so they are no resident memory.
const ballastBytes = 16 << 20

// serveWith builds the service bottom up, runs it, and takes it down top first.
func serveWith(ctx context.Context, cfg config, std stdio, log *zap.Logger) error {
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
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	srv, verifier, err := newServer(ctx, cfg, redis, internal.Addr(), registry, log)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil
	case err != nil:
		return err
	}
	announce(cfg, std, log, public.Addr(), internal.Addr())

	errorLog, _ := zap.NewStdLogAt(log, zapcore.DebugLevel)
	httpConfig := web.ServeConfig{ErrorLog: errorLog}
	var failed [3]error
	running, cancel := context.WithCancel(ctx) // ends when it shall, or when one of the listeners has failed
	defer cancel()
	serving, stopServing := context.WithCancel(below)
	var listener sync.WaitGroup
	listener.Go(func() {
		select { // until then, connections wait where the kernel keeps them
		case <-srv.Accepting():
			failed[0] = web.Serve(serving, public, publicHandler(cfg, srv, redis, verifier), httpConfig)
		case <-serving.Done():
		}
		cancel()
	})
	background.Go(func() { // last to go, so that the probes hear of the drain
		admin := http.NewServeMux()
		admin.Handle("/", web.NewAdmin(web.AdminConfig{Ready: srv.Ready, Metrics: registry}))
		admin.Handle("/socket.io/", srv.Forwarded()) // from the other replicas
		failed[1] = web.Serve(below, internal, admin, httpConfig)
		cancel()
	})
	failed[2] = srv.Run(running)
	stopServing()
	listener.Wait()
	stop()
	background.Wait()
	log.Info("stopped")
	return errors.Join(failed[:]...)
}

// newServer makes the server of this replica, and opens the log.
func newServer(ctx context.Context, cfg config, redis *adapter.Redis, internal net.Addr, registry prometheus.Registerer, log *zap.Logger) (*server.Server, *auth.Verifier, error) {
	verifier, err := auth.NewVerifier(cfg.jwt, log)
	if err != nil {
		return nil, nil, err
	}
	owners := redis.Owners(adapter.OwnersConfig{})
	policy, err := auth.NewPolicy(cfg.policy, owners)
	if err != nil {
		return nil, nil, err
	}
	limiter, err := auth.NewLimiter(cfg.limit)
	if err != nil {
		return nil, nil, err
	}
	rules, err := routing.Compile(routing.Default())
	if err != nil {
		return nil, nil, err
	}
	parts := server.Parts{
		Inputs:   redis,
		Owners:   owners,
		Rules:    rules,
		Verifier: verifier,
		Policy:   policy,
		Limiter:  limiter,
		Logger:   log,
		Metrics:  registry,
	}
	if err := joinCluster(ctx, cfg, redis, internal, &parts, registry, log); err != nil {
		return nil, nil, err
	}
	srv, err := server.New(cfg.server, parts)
	return srv, verifier, err
}

// publicHandler is what the world sees.
func publicHandler(cfg config, srv *server.Server, redis *adapter.Redis, verifier *auth.Verifier) http.Handler {
	var site web.SiteConfig
	if cfg.dev {
		site.Dev = &web.DevConfig{
			Verify: func(ctx context.Context, token string) error {
				_, err := verifier.Verify(ctx, token)
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

func newLogger(cfg config, std stdio) *zap.Logger {
	enc := zap.NewProductionEncoderConfig()
	enc.TimeKey, enc.EncodeTime = "time", zapcore.RFC3339NanoTimeEncoder
	return zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(enc), zapcore.Lock(zapcore.AddSync(std.err)), cfg.logLevel))
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
		token, err := cfg.jwt.Sign(auth.Identity{UserID: "demo", Permissions: []string{"photo:read:*"}}, 24*time.Hour)
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
