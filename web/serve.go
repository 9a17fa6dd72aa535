package web

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"log"
	"net"
	"net/http"
	"sync"
	"time"
)

// ServeConfig says how Serve serves, and bounds its end.
type ServeConfig struct {
	// Grace is how long requests in flight may take to finish once the context has ended. Zero means 10 s.
	Grace time.Duration

	// TLS, such as Certificates.TLS, makes it https. It has to be able to name a certificate. Nil means plain HTTP.
	TLS *tls.Config

	// ErrorLog hears of failed accepts and panicking handlers. Nil means the standard logger.
	ErrorLog *log.Logger
}

// Serve answers requests on ln with h until ctx ends, then stops accepting and lets the requests in flight finish. Those
// that outlast cfg.Grace have their context cancelled and their connection closed, which Serve reports as an error. It
// returns when all its connections are gone; one that h has hijacked belongs to h.
//
// There is no write timeout and no limit on a whole request, because a long poll may last. A handler that reads a body
// bounds its size and its time itself.
func Serve(ctx context.Context, ln net.Listener, h http.Handler, cfg ServeConfig) error {
	var conns sync.WaitGroup
	defer conns.Wait()
	requests, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()

	srv := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute, // above the 60 s after which common proxies let go of theirs
		MaxHeaderBytes:    32 << 10,        // Node allows 16 KiB; a token with many permissions can be large
		ErrorLog:          cfg.ErrorLog,
		BaseContext:       func(net.Listener) context.Context { return requests },
		ConnState: func(_ net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew: // said before Serve can return, so never after the Wait
				conns.Add(1)
			case http.StateClosed, http.StateHijacked: // said once, when the handler is done with it
				conns.Done()
			}
		},
	}
	defer srv.Close() // then cut, then Wait: what is still there, goes

	if cfg.TLS != nil {
		ln = tls.NewListener(ln, http1(cfg.TLS))
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve %s: %w", ln.Addr(), err)
	case <-ctx.Done():
	}

	grace, done := context.WithTimeout(context.WithoutCancel(ctx), cmp.Or(cfg.Grace, 10*time.Second))
	defer done()
	err := srv.Shutdown(grace)
	<-served
	if err != nil {
		return fmt.Errorf("shut down %s: %w", ln.Addr(), err)
	}
	return nil
}

// http1 offers no other protocol: websockets hijack connections, which those of HTTP/2 do not allow.
func http1(cfg *tls.Config) *tls.Config {
	cfg = cfg.Clone()
	cfg.NextProtos = []string{"http/1.1"}
	cfg.MinVersion = max(cfg.MinVersion, tls.VersionTLS12)
	return cfg
}
