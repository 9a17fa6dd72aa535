package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/photo-management/event-bus/scaling"
)

const (
	scrapeTimeout = 5 * time.Second
	maxReplicas   = 500 // that are asked
	atOnce        = 8   // that are asked at the same time
)

// replicas asks all replicas for their metrics. It remembers the CPU time that each had used, so it is for one goroutine.
type replicas struct {
	cfg    metricsConfig
	lookup func(ctx context.Context, network, host string) ([]netip.Addr, error) // the resolver's LookupNetIP
	client *http.Client
	used   map[string]cpuTime // by target, of the last time
}

// cpuTime is what a process had used at a time. It is one process as long as it began at the same time.
type cpuTime struct {
	at      time.Time
	seconds float64
	began   scaling.Figure
}

// target is a replica: the address of its metrics, and the one to connect to.
type target struct{ url, addr string }

func newReplicas(cfg metricsConfig) (*replicas, error) {
	transport := &http.Transport{
		// The host's name stands for many replicas, so a connection is to the one that is meant, and used once.
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, ctx.Value(dialKey{}).(string))
		},
		DisableKeepAlives:      true,
		TLSHandshakeTimeout:    scrapeTimeout,
		MaxResponseHeaderBytes: maxHeader,
	}
	if cfg.caFile != "" {
		roots, err := readRoots(cfg.caFile)
		if err != nil {
			return nil, fmt.Errorf("metrics-ca-file: %w", err)
		}
		transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	}
	return &replicas{
		cfg: cfg, lookup: net.DefaultResolver.LookupNetIP,
		client: &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}, nil
}

// dialKey is the context's key of the address to connect to.
type dialKey struct{}

// Ask is what those replicas bear that could be reached, and what went wrong with the others.
func (r *replicas) Ask(ctx context.Context) ([]scaling.Replica, error) {
	targets, err := r.targets(ctx)
	snapshots, errs := make([]scaling.Snapshot, len(targets)), make([]error, len(targets))
	var asking sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	for i, t := range targets {
		slots <- struct{}{}
		asking.Go(func() {
			snapshots[i], errs[i] = r.scrape(ctx, t)
			<-slots
		})
	}
	asking.Wait()

	var reached []scaling.Replica
	used := map[string]cpuTime{} // so what is no more is forgotten
	for i, t := range targets {
		if errs[i] == nil {
			reached = append(reached, r.measure(t, snapshots[i], used))
		}
	}
	r.used = used
	return reached, errors.Join(err, summary(errs))
}

// summary tells the first few of many errors.
func summary(errs []error) error {
	const most = 3
	errs = slices.DeleteFunc(errs, func(err error) bool { return err == nil })
	if n := len(errs); n > most {
		errs = append(errs[:most:most], fmt.Errorf("and %d more", n-most))
	}
	return errors.Join(errs...)
}

// targets are all addresses that the hosts' names stand for.
func (r *replicas) targets(ctx context.Context) ([]target, error) {
	var targets []target
	var errs []error
	for _, s := range r.cfg.urls {
		u, err := url.Parse(s)
		if err != nil {
			return nil, err // was checked
		}
		port := u.Port()
		if port == "" {
			port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
		}
		addrs, err := r.addresses(ctx, u.Hostname())
		if err != nil {
			errs = append(errs, fmt.Errorf("addresses of the replicas: %w", err))
		}
		for _, a := range addrs {
			targets = append(targets, target{s, net.JoinHostPort(a.Unmap().String(), port)})
		}
	}
	if len(targets) > maxReplicas {
		targets = targets[:maxReplicas]
		errs = append(errs, fmt.Errorf("there are more than %d replicas: the others are not asked", maxReplicas))
	}
	return targets, errors.Join(errs...)
}

// addresses prefers IPv4: a replica with both would count twice.
func (r *replicas) addresses(ctx context.Context, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a}, nil
	}
	ctx, done := context.WithTimeout(ctx, scrapeTimeout)
	defer done()
	addrs, err := r.lookup(ctx, "ip4", host)
	if err != nil || len(addrs) == 0 {
		addrs, err = r.lookup(ctx, "ip6", host)
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	return slices.Compact(addrs), err
}

// measure compares with the last time, and adds to used what the next time compares with.
func (r *replicas) measure(t target, s scaling.Snapshot, used map[string]cpuTime) scaling.Replica {
	replica := scaling.Replica{Connections: s.WebSockets.Active}
	if s.Process.ResidentBytes.Known && r.cfg.memoryLimit > 0 {
		replica.Memory = scaling.Known(s.Process.ResidentBytes.Value / float64(r.cfg.memoryLimit) * 100)
	}
	if !s.Process.CPUSeconds.Known {
		return replica
	}
	key, now := t.url+" "+t.addr, cpuTime{s.Time, s.Process.CPUSeconds.Value, s.Process.Started}
	used[key] = now
	last, ok := r.used[key]
	if took := now.at.Sub(last.at).Seconds(); ok && r.cfg.cpuLimit > 0 && now.began == last.began && now.seconds >= last.seconds && took > 0 {
		replica.CPU = scaling.Known((now.seconds - last.seconds) / took / float64(r.cfg.cpuLimit) * 100)
	}
	return replica
}
