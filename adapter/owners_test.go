package adapter

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func wantOwner(t *testing.T, o *Owners, photoID, want string) {
	t.Helper()
	got, known, err := o.Owner(context.Background(), photoID)
	if err != nil || got != want || known != (want != "") {
		t.Errorf("Owner(%q) = %q, %v, %v; want %q", photoID, got, known, err, want)
	}
}

func TestOwners(t *testing.T) {
	t.Parallel()
	onEachBackend(t, func(t *testing.T, b backend) {
		ctx := context.Background()
		o := dialTest(t, "redis://"+b.addr).Owners(OwnersConfig{})
		c := plainClient(t, b.addr)

		wantOwner(t, o, "p1", "")
		if err := o.Set(ctx, "p1", "ann"); err != nil {
			t.Fatal(err)
		}
		wantOwner(t, o, "p1", "ann")
		if got := c.Get(ctx, "eventbus:owner:p1").Val(); got != "ann" {
			t.Errorf("key eventbus:owner:p1 holds %q, want ann", got)
		}

		if err := o.Set(ctx, "p1", "bob"); !errors.Is(err, ErrOwned) {
			t.Errorf("taking a photo over = %v, want ErrOwned", err)
		}
		wantOwner(t, o, "p1", "ann")

		if err := o.Delete(ctx, "p1"); err != nil {
			t.Fatal(err)
		}
		wantOwner(t, o, "p1", "")
		if err := o.Delete(ctx, "p1"); err != nil {
			t.Errorf("deleting again: %v", err)
		}
		if err := o.Set(ctx, "p1", "bob"); err != nil {
			t.Errorf("a new owner after Delete: %v", err)
		}
		wantOwner(t, o, "p1", "bob")
	})
}

func TestOwnersRetention(t *testing.T) {
	t.Parallel()
	onEachBackend(t, func(t *testing.T, b backend) {
		ctx := context.Background()
		r := dialTest(t, "redis://"+b.addr)
		o, c := r.Owners(OwnersConfig{}), plainClient(t, b.addr)
		const key, day = "eventbus:owner:p", 24 * time.Hour
		wantTTL := func(when string, most time.Duration) {
			t.Helper()
			if got := c.PTTL(ctx, key).Val(); got > most || got < most-time.Hour {
				t.Errorf("%s the TTL is %s, want %s", when, got, most)
			}
		}
		if err := o.Set(ctx, "p", "ann"); err != nil {
			t.Fatal(err)
		}
		wantTTL("at first", 90*day)
		if err := c.PExpire(ctx, key, day).Err(); err != nil {
			t.Fatal(err)
		}
		if err := o.Set(ctx, "p", "bob"); !errors.Is(err, ErrOwned) {
			t.Errorf("Set by another user = %v, want ErrOwned", err)
		}
		wantTTL("after another user's Set", day)
		if err := o.Set(ctx, "p", "ann"); err != nil {
			t.Fatal(err)
		}
		wantTTL("after the owner's Set", 90*day)
		if err := r.Owners(OwnersConfig{TTL: 2 * day}).Set(ctx, "p", "ann"); err != nil {
			t.Fatal(err)
		}
		wantTTL("with another configuration", 2*day)
	})
}

func TestOwnersFirstWriterWins(t *testing.T) {
	t.Parallel()
	onEachBackend(t, func(t *testing.T, b backend) {
		o := dialTest(t, "redis://"+b.addr).Owners(OwnersConfig{})
		users := []string{"u0", "u1", "u2", "u3", "u4", "u5", "u6", "u7"}
		var winner atomic.Value
		var wins atomic.Int32
		var all sync.WaitGroup
		for _, u := range users {
			all.Go(func() {
				switch err := o.Set(context.Background(), "p", u); {
				case err == nil:
					wins.Add(1)
					winner.Store(u)
				case !errors.Is(err, ErrOwned):
					t.Errorf("Set by %s: %v", u, err)
				}
			})
		}
		all.Wait()
		if wins.Load() != 1 {
			t.Fatalf("%d users own the photo, want 1", wins.Load())
		}
		wantOwner(t, o, "p", winner.Load().(string))
	})
}

func TestOwnersBoundIDs(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	o := dialTest(t, "redis://"+startEmbedded(t, "").Addr()).Owners(OwnersConfig{})
	long, longest := strings.Repeat("x", 513), strings.Repeat("x", 512)
	if err := o.Set(ctx, longest, longest); err != nil {
		t.Errorf("ids of 512 bytes: %v", err)
	}
	wantOwner(t, o, longest, longest)
	for _, bad := range []string{"", long} {
		_, _, ownerErr := o.Owner(ctx, bad)
		for what, err := range map[string]error{
			"Set of photo": o.Set(ctx, bad, "u"),
			"Set to user":  o.Set(ctx, "p", bad),
			"Delete":       o.Delete(ctx, bad),
			"Owner":        ownerErr,
		} {
			if err == nil {
				t.Errorf("%s with an id of %d bytes: no error", what, len(bad))
			}
		}
	}
}

func TestOwnersAfterRestart(t *testing.T) {
	t.Parallel()
	onEachBackend(t, func(t *testing.T, b backend) {
		ctx := context.Background()
		o := dialTest(t, "redis://"+b.addr).Owners(OwnersConfig{})
		if err := o.Set(ctx, "p", "ann"); err != nil {
			t.Fatal(err)
		}
		b.stop()
		if _, known, err := o.Owner(ctx, "p"); err == nil || known {
			t.Errorf("Owner with Redis gone = known %v, %v; want an error", known, err)
		}
		b.start() // it has forgotten the script too
		if err := o.Set(ctx, "p", "bob"); err != nil {
			t.Errorf("Set after the restart: %v", err)
		}
		wantOwner(t, o, "p", "bob")
	})
}

func TestOwnersDeadline(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0") // the kernel accepts, nobody answers
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	o := undialled(t, "redis://"+l.Addr().String()).Owners(OwnersConfig{Timeout: 50 * time.Millisecond})
	done := make(chan error, 3)
	go func() {
		done <- o.Set(context.Background(), "p", "u")
		done <- o.Delete(context.Background(), "p")
		_, _, err := o.Owner(context.Background(), "p")
		done <- err
	}()
	for range cap(done) {
		select {
		case err := <-done:
			if err == nil {
				t.Error("no error from a server that does not answer")
			}
		case <-time.After(patience):
			t.Fatal("a call without end")
		}
	}
}

func TestOwnersConfigValidate(t *testing.T) {
	t.Parallel()
	if err := (OwnersConfig{}).Validate(); err != nil {
		t.Errorf("zero: %v", err)
	}
	err := OwnersConfig{TTL: -1, Timeout: -1}.Validate()
	if err == nil || !strings.Contains(err.Error(), "owners.ttl") || !strings.Contains(err.Error(), "owners.timeout") {
		t.Errorf("Validate() = %v, want both problems", err)
	}
}
