package adapter

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

type dialFunc = func(ctx context.Context, network, addr string) (net.Conn, error)

// tlsConfig completes what the URL says of TLS; nil in and out means that there is none. All problems are reported.
func (c RedisConfig) tlsConfig(base *tls.Config) (*tls.Config, error) {
	if base == nil {
		if c.CAFile != "" || c.CertFile != "" || c.KeyFile != "" || c.TLSServerName != "" {
			return nil, errors.New("redis.caFile, redis.certFile, redis.keyFile and redis.tlsServerName: for nothing without TLS; " +
				"set redis.tls, or write rediss:// in redis.url")
		}
		return nil, nil
	}
	conf := base.Clone()
	if c.Cluster {
		conf.ServerName = "" // that of the URL's node; each has its own
	}
	if c.TLSServerName != "" {
		conf.ServerName = c.TLSServerName
	}
	var errs []error
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		conf.RootCAs = x509.NewCertPool()
		if err != nil {
			errs = append(errs, fmt.Errorf("redis.caFile: %w", err))
		} else if !conf.RootCAs.AppendCertsFromPEM(pem) {
			errs = append(errs, fmt.Errorf("redis.caFile %s: holds no certificate in PEM", c.CAFile))
		}
	}
	switch {
	case (c.CertFile == "") != (c.KeyFile == ""):
		errs = append(errs, errors.New("redis.certFile and redis.keyFile: set both, or none"))
	case c.CertFile != "":
		if _, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile); err != nil {
			errs = append(errs, fmt.Errorf("redis.certFile and redis.keyFile: %w", err))
		}
		conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			cert, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
			return &cert, err
		}
	}
	return conf, errors.Join(errs...)
}

// dialer connects within timeout, with TLS if conf is not nil. Other than go-redis's own it ends a TLS handshake with
// its context, and all that is under way with life.
func dialer(life context.Context, conf *tls.Config, timeout time.Duration) dialFunc {
	plain := &net.Dialer{Timeout: timeout}
	dial := plain.DialContext
	if conf != nil {
		dial = (&tls.Dialer{NetDialer: plain, Config: conf}).DialContext
	}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(life, cancel)()
		return dial(ctx, network, addr)
	}
}

// sendOnce is for a Cluster, whose client follows commands to where their keys have moved, and has no way to do so
// without sending them again after a broken connection or a timeout too: an XADD whose answer got lost would be there
// twice. So its connections break with an error that it takes for no reason to try again.
func sendOnce(dial dialFunc) dialFunc {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err // nothing was sent
		}
		if raw, ok := conn.(syscall.Conn); ok { // by which the pool sees whether it is still open
			return onceRawConn{onceConn{conn}, raw}, nil
		}
		return onceConn{conn}, nil
	}
}

type onceConn struct{ net.Conn }

type onceRawConn struct {
	onceConn
	syscall.Conn
}

func (c onceConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	return n, final(err)
}

func (c onceConn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	return n, final(err)
}

func final(err error) error {
	if err == nil {
		return nil
	}
	return finalError{err}
}

// finalError hides from go-redis what it would try again after: the end of a connection, and timeouts, which it
// recognizes by their type. Others find the cause with errors.Is.
type finalError struct{ err error }

func (e finalError) Error() string { return e.err.Error() }

func (e finalError) Is(target error) bool {
	return target != io.EOF && target != io.ErrUnexpectedEOF && errors.Is(e.err, target)
}
