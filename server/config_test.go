package server

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

func TestConfigValidate(t *testing.T) {
	t.Parallel()
	if err := (Config{}).Validate(); err != nil {
		t.Errorf("the zero value: %v", err)
	}
	var off Config
	off.Socket.RecoveryWindow = -1
	if err := off.Validate(); err != nil {
		t.Errorf("without recovery: %v", err)
	}

	var bad Config
	bad.MaxEvent, bad.MaxSubscriptions, bad.Drain = -1, -1, -time.Second
	bad.Socket.ConnectTimeout, bad.Socket.MaxAttachments, bad.Socket.RecoveryBytes = -1, -1, -1
	bad.Socket.Engine.MaxPayload, bad.Socket.Engine.MaxQueue = -1, -1
	bad.Socket.Engine.PingInterval, bad.Socket.Engine.PingTimeout, bad.Socket.Engine.UpgradeTimeout = -1, -1, -1
	bad.Socket.Engine.Transports = []string{"carrier pigeon"}
	err := bad.Validate()
	if err == nil {
		t.Fatal("a configuration in which all is wrong is valid")
	}
	lines := strings.Split(err.Error(), "\n")
	for _, key := range []string{
		"performance.maxEventSize", "security.maxSubscriptions", "server.drain", "websocket.connectTimeout", "MaxAttachments",
		"websocket.recovery.maxBytes", "websocket.maxPayload", "websocket.maxQueue", "websocket.pingInterval", "websocket.pingTimeout",
		"UpgradeTimeout", "websocket.transports",
	} {
		n := 0
		for _, line := range lines {
			if strings.Contains(line, key+":") && strings.Contains(line, "want") {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%d lines say what is wrong with %s, want one: %q", n, key, lines)
		}
	}
	if len(lines) != 12 {
		t.Errorf("%d problems are told, want 12: %q", len(lines), lines)
	}
}

// New refuses what Validate refuses, before it registers anything.
func TestNewValidates(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	srv, err := New(Config{Drain: -1}, Parts{Log: newFakeLog(), Metrics: registry})
	if err == nil || srv != nil || !strings.Contains(err.Error(), "server.drain") {
		t.Errorf("New = %v, %v, want an error about server.drain", srv, err)
	}
	if families, _ := registry.Gather(); len(families) > 0 {
		t.Errorf("%d metrics are registered", len(families))
	}
}

// The defaults that the field comments promise.
func TestConfigDefaults(t *testing.T) {
	t.Parallel()
	c := Config{}.withDefaults()
	if c.MaxEvent != 1<<20 || c.MaxSubscriptions != 1000 || c.Drain != 20*time.Second || c.Socket.RecoveryWindow != 2*time.Minute {
		t.Errorf("defaults are %+v", c)
	}
	given := Config{MaxEvent: 1, MaxSubscriptions: 2, Drain: 3}
	given.Socket.RecoveryWindow = 4
	if c := given.withDefaults(); c.MaxEvent != 1 || c.MaxSubscriptions != 2 || c.Drain != 3 || c.Socket.RecoveryWindow != 4 {
		t.Errorf("what was given has become %+v", c)
	}
}
