package adapter

import (
	"context"
	"testing"

	"github.com/redis/go-redis/v9"
)

// What is trouble is counted, and what is a way of talking is not.
func TestRedisErrors(t *testing.T) {
	t.Parallel()
	server := startRedis(t)
	r := dialTest(t, "redis://"+server.addr)
	want := func(n uint64) {
		t.Helper()
		if got := r.Errors(); got != n {
			t.Errorf("%d errors are counted, want %d", got, n)
		}
	}
	r.client.Get(t.Context(), "nothing")
	redis.NewScript("return redis.error_reply('DEPOSED the lease is held by another')").Run(t.Context(), r.client, []string{"k"})
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	r.client.Get(cancelled, "nothing")
	want(0)
	r.client.Set(t.Context(), "text", "text", 0)
	r.client.Incr(t.Context(), "text")
	want(1)
	pipe := r.client.Pipeline()
	pipe.Get(t.Context(), "text")
	pipe.LPush(t.Context(), "text", "x")
	if _, err := pipe.Exec(t.Context()); err == nil {
		t.Error("no error of a list that is a text")
	}
	want(2)
	server.stop(t)
	r.client.Get(t.Context(), "text")
	if got := r.Errors(); got < 3 {
		t.Errorf("%d errors are counted without a Redis, want more than 2", got)
	}
}
