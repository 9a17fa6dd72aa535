package auth

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestRevocations(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		var r Revocations
		alice := Identity{UserID: "alice", TokenID: "a1", Issued: now.Add(-time.Hour)}
		check := func(what string, id Identity, want bool) {
			t.Helper()
			if got := r.Revoked(id); got != want {
				t.Errorf("%s: got %v, want %v", what, got, want)
			}
		}
		check("nothing set", alice, false)
		r.Set(nil)
		check("nothing revoked", alice, false)
		r.Set([]Revocation{
			{TokenID: "b1", Expires: now.Add(time.Hour)},
			{TokenID: "gone", Expires: now},
			{UserID: "alice", Before: now, Expires: now.Add(time.Hour)},
			{UserID: "gone", Before: now, Expires: now.Add(-1)},
			{UserID: "ever", Before: now},
			{},
		})
		check("issued before", alice, true)
		check("issued in that moment", Identity{UserID: "alice", Issued: now}, false)
		check("issued just before", Identity{UserID: "alice", Issued: now.Add(-1)}, true)
		check("issued later", Identity{UserID: "alice", Issued: now.Add(time.Second)}, false)
		check("no issue date", Identity{UserID: "alice"}, true)
		check("issue date in milliseconds", Identity{UserID: "alice", Issued: time.Unix(now.UnixMilli(), 0)}, true)
		check("issuer's clock ahead", Identity{UserID: "alice", Issued: now.Add(maxLeeway)}, false)
		check("another user", Identity{UserID: "bob", TokenID: "a1"}, false)
		check("token", Identity{UserID: "bob", TokenID: "b1", Issued: now.Add(time.Hour)}, true)
		check("another token", Identity{UserID: "bob", TokenID: "b2"}, false)
		check("no token id", Identity{UserID: "bob"}, false)
		check("user's name is a token's", Identity{UserID: "b1", TokenID: "alice"}, false)
		check("expired token revocation", Identity{UserID: "bob", TokenID: "gone"}, false)
		check("expired user revocation", Identity{UserID: "gone"}, false)
		check("never to expire", Identity{UserID: "ever"}, true)
		check("nobody", Identity{}, false)

		time.Sleep(time.Hour)
		check("forgotten in time", alice, false)
		check("forgotten in time, token", Identity{UserID: "bob", TokenID: "b1"}, false)
		check("still", Identity{UserID: "ever"}, true)

		now = time.Now()
		r.Set([]Revocation{ // the same twice, each with something the other lacks
			{UserID: "alice", Before: now, Expires: now.Add(time.Minute)},
			{UserID: "alice", Before: now.Add(-time.Hour), Expires: now.Add(time.Hour)},
			{TokenID: "t", Expires: now.Add(time.Hour)},
			{TokenID: "t", Expires: now.Add(time.Minute)},
		})
		check("replaced", Identity{UserID: "ever"}, false)
		time.Sleep(2 * time.Minute)
		check("the later of both", Identity{UserID: "alice", Issued: now.Add(-1)}, true)
		check("the later of both, token", Identity{UserID: "bob", TokenID: "t"}, true)
	})
}

// TestRevocationsConcurrent: a reader sees one set or the other, never a mixture.
func TestRevocationsConcurrent(t *testing.T) {
	t.Parallel()
	var r Revocations
	sets := [2][]Revocation{{{UserID: "even", Before: time.Now()}, {TokenID: "both"}}, {{UserID: "odd", Before: time.Now()}, {TokenID: "both"}}}
	r.Set(sets[0])
	var all sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if !r.Revoked(Identity{UserID: "x", TokenID: "both"}) || r.Revoked(Identity{UserID: "x"}) {
					t.Error("a set is not whole")
					return
				}
			}
		})
	}
	for i := range 200 {
		r.Set(sets[i%2])
	}
	close(stop)
	all.Wait()
}

func BenchmarkRevoked(b *testing.B) {
	for _, n := range []int{0, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var r Revocations
			var all []Revocation
			for i := range n {
				all = append(all, Revocation{UserID: fmt.Sprint("user-", i), Before: time.Now(), Expires: time.Now().Add(time.Hour)})
			}
			r.Set(all)
			id := Identity{UserID: "user-7", TokenID: "t-1", Issued: time.Now().Add(time.Minute)}
			b.ReportAllocs()
			for b.Loop() {
				if r.Revoked(id) {
					b.Fatal("revoked")
				}
			}
		})
	}
}
