package adapter

import (
	"testing"
	"time"
)

// A Redis that takes no writes takes no beats either, though it can be read.
func TestReplicasBeating(t *testing.T) {
	t.Parallel()
	r := dialTest(t, "redis://"+startRedis(t).addr)
	before := time.Now()
	x, _ := newOffice(t, r).join("x")
	eventually(t, "it to beat", func() bool { return !x.Beating().IsZero() })
	since := x.Beating()
	if since.Before(before) {
		t.Errorf("it beats since %v, before it began", since)
	}
	full := func(maxmemory string) { must(t, r.client.ConfigSet(t.Context(), "maxmemory", maxmemory).Err()) }
	full("1")
	eventually(t, "beats to fail", func() bool { return x.Beating().IsZero() })
	full("0")
	eventually(t, "it to beat again", func() bool { return x.Beating().After(since) })
}
