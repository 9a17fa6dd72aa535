package adapter

import (
	"context"
	"strings"
	"testing"
	"time"
)

func TestStartEmbeddedAddresses(t *testing.T) {
	t.Parallel()
	for _, addr := range []string{"", "127.0.0.1:0", "localhost:0", "127.1.2.3:0"} {
		e, err := StartEmbedded(addr)
		if err != nil {
			t.Errorf("StartEmbedded(%q): %v", addr, err)
			continue
		}
		if err := plainClient(t, e.Addr()).Ping(context.Background()).Err(); err != nil {
			t.Errorf("StartEmbedded(%q) does not answer: %v", addr, err)
		}
		e.Close()
	}
	for _, addr := range []string{":6379", "0.0.0.0:0", "[::]:0", "192.0.2.1:0", "redis.example:6379"} {
		e, err := StartEmbedded(addr)
		if err == nil {
			e.Close()
			t.Errorf("StartEmbedded(%q) listens, want an error", addr)
		} else if !strings.Contains(err.Error(), "loopback") || !strings.Contains(err.Error(), addr) {
			t.Errorf("StartEmbedded(%q): %q does not say what is wrong", addr, err)
		}
	}
	if _, err := StartEmbedded("6379"); err == nil {
		t.Error(`StartEmbedded("6379") listens, want an error`)
	}
}

func TestStartEmbeddedTakenPort(t *testing.T) {
	t.Parallel()
	first := startEmbedded(t, "")
	if e, err := StartEmbedded(first.Addr()); err == nil {
		e.Close()
		t.Error("a second server on the same port, want an error")
	}
}

func TestEmbeddedKeysExpire(t *testing.T) {
	t.Parallel()
	e := startEmbedded(t, "")
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()

	c := plainClient(t, e.Addr())
	if err := c.Set(ctx, "long", "x", time.Hour).Err(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	const ttl = 400 * time.Millisecond
	if err := c.Set(ctx, "short", "x", ttl).Err(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the key to expire", func() bool { return c.Exists(ctx, "short").Val() == 0 })
	if took := time.Since(began); took < ttl-clockTick {
		t.Errorf("a key of %s expired after %s", ttl, took)
	}
	if left := c.PTTL(ctx, "long").Val(); left < 50*time.Minute || left >= time.Hour {
		t.Errorf("the other key has %s left, want a little less than an hour", left)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
}
