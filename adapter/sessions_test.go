package adapter

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
)

var (
	sessionsA = SessionsConfig{ID: "a"}
	sessionsB = SessionsConfig{ID: "b"}
	here      = 3*time.Minute + renewMargin // what a session of a connected client lives
	away      = 2 * time.Minute
)

func TestSessionsConfigValidate(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		cfg  SessionsConfig
		want string // empty: valid
	}{
		{SessionsConfig{ID: "a:b-1"}, ""},
		{SessionsConfig{}, "server id"},
		{SessionsConfig{ID: "a b"}, "server id"},
		{SessionsConfig{ID: strings.Repeat("x", 65)}, "server id"},
		{SessionsConfig{ID: "a", Prefix: "{x}:"}, "prefix"},
		{SessionsConfig{ID: "a", Window: -1}, "window"},
		{SessionsConfig{ID: "a", Renew: -1}, "renew"},
	} {
		if err := tt.cfg.Validate(); (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Validate of %+v = %v, want %q", tt.cfg, err, tt.want)
		}
	}
}

func TestSessionIsKeptAndTaken(t *testing.T) {
	t.Parallel()
	onEachBackend(t, func(t *testing.T, b backend) {
		a, other, c := startSessions(t, b.addr, sessionsA), startSessions(t, b.addr, sessionsB), plainClient(t, b.addr)
		a.wantNone(t, "p")
		a.save(t, "p", "r1", "r2")
		wantLives(t, c, a, "p", here)
		want := []string{"eventbus:owner-of:{sio:session:p}", "sio:session:p"}
		if got := c.Keys(context.Background(), "*").Val(); !slices.Equal(slices.Sorted(slices.Values(got)), want) {
			t.Errorf("keys are %q, want %q", got, want)
		}
		other.wantLook(t, "p", "r1", "r2")
		a.save(t, "p", "r3")
		other.wantLook(t, "p", "r3")
		a.settle(t)
		if got := a.lost(); len(got) > 0 {
			t.Errorf("%q were lost by a look, want none", got)
		}

		other.wantTake(t, "p", "a", "r3")
		wantLives(t, c, a, "p", away) // until the taker says that its client is there
		a.wantLost(t, "p")
		if got := a.Len(); got != 0 {
			t.Errorf("the server it was taken from keeps %d, want none", got)
		}
		other.save(t, "p", "r3", "r4")
		wantLives(t, c, a, "p", here)
		other.wantTake(t, "p", "b", "r3", "r4")
		other.settle(t)
		if got := other.lost(); len(got) > 0 {
			t.Errorf("%q were lost to oneself, want none", got)
		}
	})
}

func TestSessionIsReleasedAndDropped(t *testing.T) {
	t.Parallel()
	onEachBackend(t, func(t *testing.T, b backend) {
		a, other, c := startSessions(t, b.addr, sessionsA), startSessions(t, b.addr, sessionsB), plainClient(t, b.addr)
		a.save(t, "p", "r1")
		a.put("p", "r2")
		a.Release("p")
		a.settle(t)
		wantLives(t, c, a, "p", away)
		a.renew(time.Now())
		a.settle(t)
		wantLives(t, c, a, "p", away) // a renewal does not add to it
		other.wantTake(t, "p", "a", "r2")
		a.wantLost(t, "p")

		other.save(t, "p", "r5")
		a.Release("p") // not ours any more
		a.Drop("p")
		a.settle(t)
		wantLives(t, c, a, "p", here)
		other.Drop("p")
		other.settle(t)
		other.wantNone(t, "p")
		if n := c.DBSize(context.Background()).Val(); n != 0 {
			t.Errorf("%d keys left, want none", n)
		}
		if n := other.Len(); n != 0 {
			t.Errorf("%d sessions left, want none", n)
		}
	})
}

// What state does not know any more is deleted, whoever asked for it to be written or renewed.
func TestSessionWithoutState(t *testing.T) {
	t.Parallel()
	onEachBackend(t, func(t *testing.T, b backend) {
		a, c := startSessions(t, b.addr, sessionsA), plainClient(t, b.addr)
		for _, renew := range []bool{false, true} {
			a.save(t, "p", "r")
			a.remove("p")
			if renew {
				a.renew(time.Now())
			} else if err := a.Save(soon(t), "p"); !errors.Is(err, errNoSession) {
				t.Errorf("Save without state = %v, want %v", err, errNoSession)
			}
			a.settle(t)
			if n := c.DBSize(context.Background()).Val(); n != 0 || a.Len() != 0 {
				t.Errorf("renewed %v: %d keys and %d sessions are left, want none", renew, n, a.Len())
			}
		}
		if err := a.Save(soon(t), "q"); !errors.Is(err, errNoSession) || a.Len() != 0 {
			t.Errorf("Save of what never was = %v and %d sessions, want %v and none", err, a.Len(), errNoSession)
		}
	})
}

// A server that has not heard of a takeover must not write over it.
func TestSessionTakenUnheard(t *testing.T) {
	t.Parallel()
	onEachBackend(t, func(t *testing.T, b backend) {
		a, other := startSessions(t, b.addr, sessionsA), startSessions(t, b.addr, sessionsB)
		for _, how := range []string{"Save", "Release", "renewal", "Drop"} {
			pid := "by-" + how
			a.save(t, pid, "old")
			leave(t, b.addr, other, pid, "new")
			switch how {
			case "Save":
				a.put(pid, "stale")
				if err := a.Save(soon(t), pid); !errors.Is(err, ErrTaken) {
					t.Errorf("Save = %v, want ErrTaken", err)
				}
			case "Release":
				a.Release(pid)
			case "renewal":
				a.renew(time.Now())
			case "Drop":
				a.Drop(pid)
			}
			a.settle(t)
			if got := a.lost(); how != "Drop" && (len(got) == 0 || got[len(got)-1] != pid) {
				t.Errorf("%s: lost are %q, want %s to be the last", how, got, pid)
			}
			other.wantLook(t, pid, "new")
			a.wantTake(t, pid, "b", "new")
			a.Drop(pid)
		}
		if got := a.lost(); len(got) != 3 {
			t.Errorf("lost are %q, want each once but for the one that was dropped", got)
		}
	})
}

// leave stores a session as server s does after taking it, and nobody is told.
func leave(t testing.TB, addr string, s *sessionServer, pid string, rooms ...string) {
	t.Helper()
	v, err := s.encode(StoredSession{PID: pid, ID: "socket of " + pid, Rooms: rooms, Data: json.RawMessage(`{"user":"ann"}`)})
	if err != nil {
		t.Fatal(err)
	}
	c, keys := plainClient(t, addr), s.keys(pid)
	c.Del(context.Background(), keys...)
	if got, err := keepSession.Run(context.Background(), c, keys, s.cfg.ID, 60_000, v).Int(); got != 1 || err != nil {
		t.Fatalf("the script answers %d, %v; want 1", got, err)
	}
}

// News of a takeover that is old when it arrives ends nothing.
func TestSessionOldNewsOfTakeover(t *testing.T) {
	t.Parallel()
	onEachBackend(t, func(t *testing.T, b backend) {
		a, c := startSessions(t, b.addr, sessionsA), plainClient(t, b.addr)
		a.save(t, "p", "r")
		publish(t, c, "eventbus:taken:a", "p")
		publish(t, c, "eventbus:taken:a", "unknown")
		publish(t, c, "eventbus:taken:a", "{}\r\n")
		// The last one is true: when it is seen to, all before were.
		a.save(t, "last", "r")
		startSessions(t, b.addr, sessionsB).wantTake(t, "last", "a", "r")
		a.wantLost(t, "last")
	})
}

func TestSessionTwoTakers(t *testing.T) {
	t.Parallel()
	onEachBackend(t, func(t *testing.T, b backend) {
		a := startSessions(t, b.addr, sessionsA)
		takers := []*sessionServer{startSessions(t, b.addr, sessionsB), startSessions(t, b.addr, SessionsConfig{ID: "c"})}
		a.save(t, "p", "r")
		var from [2]string
		var wg sync.WaitGroup
		for i, s := range takers {
			wg.Go(func() {
				_, was, ok, err := s.Take(soon(t), "p")
				if !ok || err != nil {
					t.Errorf("%s takes: %v, %v; want the session", s.cfg.ID, ok, err)
				}
				from[i] = was
			})
		}
		wg.Wait()
		first, last := takers[0], takers[1]
		if from[0] != "a" {
			first, last = last, first
		}
		if want := []string{"a", first.cfg.ID}; !slices.Equal(slices.Sorted(slices.Values(from[:])), want) {
			t.Fatalf("taken from %q, want %q", from, want)
		}
		a.wantLost(t, "p")
		first.wantLost(t, "p")
		last.save(t, "p", "r")
		if err := first.Save(soon(t), "p"); !errors.Is(err, errNoSession) {
			t.Errorf("the first taker's Save = %v, want %v", err, errNoSession)
		}
		first.put("p", "r")
		if err := first.Save(soon(t), "p"); !errors.Is(err, ErrTaken) {
			t.Errorf("the first taker's Save = %v, want ErrTaken", err)
		}
		last.settle(t)
		if got := last.lost(); len(got) > 0 {
			t.Errorf("the last taker lost %q, want none", got)
		}
	})
}

func TestSessionTakenByNode(t *testing.T) {
	t.Parallel()
	onEachBackend(t, func(t *testing.T, b backend) {
		a, other, c := startSessions(t, b.addr, sessionsA), startSessions(t, b.addr, sessionsB), plainClient(t, b.addr)
		a.save(t, "p", "r")
		if got, want := nodeTakes(t, c, a, "p"), `{"PID":"p","ID":"socket of p","Rooms":["r"],"Data":{"user":"ann"}}`; got != want {
			t.Errorf("Node finds %s, want %s", got, want)
		}
		other.wantNone(t, "p")
		a.renew(time.Now())
		a.wantLost(t, "p")

		a.save(t, "q", "r")
		nodeTakes(t, c, a, "q")
		a.wantNone(t, "q") // though it was its own
		a.wantLost(t, "p", "q")
		a.put("q", "stale")
		if err := a.Save(soon(t), "q"); !errors.Is(err, ErrTaken) { // nor does it come back
			t.Errorf("Save of what Node has = %v, want ErrTaken", err)
		}
		nodeLeaves(t, c, a, "q", "node's")
		other.wantTake(t, "q", "", "node's")
		other.save(t, "q", "node's", "b's")
		wantLives(t, c, a, "q", here)
	})
}

// Node took a session and left it there again, with what it knows, before its earlier owner noticed anything.
func TestSessionLeftByNodeUnnoticed(t *testing.T) {
	t.Parallel()
	onEachBackend(t, func(t *testing.T, b backend) {
		a, other, c := startSessions(t, b.addr, sessionsA), startSessions(t, b.addr, sessionsB), plainClient(t, b.addr)
		for _, pid := range []string{"by-save", "by-renewal", "by-take"} {
			a.save(t, pid, "old")
			nodeTakes(t, c, a, pid)
			nodeLeaves(t, c, a, pid, "new")
		}
		if err := a.Save(soon(t), "by-save"); !errors.Is(err, ErrTaken) {
			t.Errorf("Save = %v, want ErrTaken", err)
		}
		other.wantTake(t, "by-take", "", "new")
		a.wantLost(t, "by-save", "by-take")
		a.renew(time.Now())
		a.wantLost(t, "by-save", "by-take", "by-renewal")
		other.wantTake(t, "by-renewal", "", "new")
		a.wantTake(t, "by-save", "", "new")

		nodeLeaves(t, c, a, "node's own", "n") // hostile: refused before it is looked for
		a.wantNone(t, "node's own")
		nodeLeaves(t, c, a, "nodes-own", "n")
		a.wantTake(t, "nodes-own", "", "n")
	})
}

func TestSessionHostilePIDs(t *testing.T) {
	t.Parallel()
	onEachBackend(t, func(t *testing.T, b backend) {
		a, c := startSessions(t, b.addr, sessionsA), plainClient(t, b.addr)
		for _, pid := range []string{"", strings.Repeat("x", maxPID+1), "{p}", "p}", "{", "p\x00", "p\r\nDEL x", "p\x7f", "p q", "é"} {
			nodeLeaves(t, c, a, pid, "r") // so that it would be found
			a.put(pid, "r")
			if err := a.Save(soon(t), pid); !errors.Is(err, errSessionID) {
				t.Errorf("Save(%.10q) = %v, want %v", pid, err, errSessionID)
			}
			a.Changed(pid)
			a.Release(pid)
			a.Drop(pid)
			a.wantNone(t, pid)
		}
		if a.Len() != 0 || a.Refused() != 0 {
			t.Errorf("%d kept and %d refused, want none", a.Len(), a.Refused())
		}
		long := strings.Repeat("x", maxPID)
		a.save(t, long, "r")
		a.wantTake(t, long, "a", "r")
	})
}

func TestSessionsThatMakeNoSense(t *testing.T) {
	t.Parallel()
	onEachBackend(t, func(t *testing.T, b backend) {
		a, c, ctx := startSessions(t, b.addr, sessionsA), plainClient(t, b.addr), context.Background()
		huge := `{"PID":"huge","ID":"s"}` + strings.Repeat(" ", maxSession) // cut off anywhere, it is good JSON
		for pid, v := range map[string]string{
			"corrupt": "\xff\x00{", "another": `{"PID":"p","ID":"s"}`, "nobody": `{"PID":"nobody"}`, "huge": huge,
		} {
			if err := c.Set(ctx, "sio:session:"+pid, v, time.Minute).Err(); err != nil {
				t.Fatal(err)
			}
			before := a.Refused()
			a.wantNone(t, pid)
			if got := a.Refused() - before; got != 2 { // the look and the take
				t.Errorf("%s: refused %d times, want 2", pid, got)
			}
		}
		if err := c.LPush(ctx, "sio:session:list", "x").Err(); err != nil {
			t.Fatal(err)
		}
		if err := c.LPush(ctx, a.keys("strange")[1], "x").Err(); err != nil {
			t.Fatal(err)
		}
		a.wantNone(t, "list")
		if got := c.Type(ctx, "sio:session:list").Val(); got != "list" {
			t.Errorf("what is no session became a %s", got)
		}
		nodeLeaves(t, c, a, "strange", "r") // with an owner that is no string
		a.wantTake(t, "strange", "", "r")
		a.save(t, "strange", "r", "r2")

		biggest := `{"PID":"big","ID":"socket of big","Rooms":[""],"Data":{"user":"ann"}}`
		room := strings.Repeat("x", maxSession-len(biggest))
		nodeLeaves(t, c, a, "big", room)
		if n := c.StrLen(ctx, "sio:session:big").Val(); n != maxSession {
			t.Fatalf("the largest has %d bytes, want %d", n, maxSession)
		}
		a.wantTake(t, "big", "", room)
		eventually(t, "what is corrupt to be deleted once taken", func() bool {
			return c.Exists(ctx, "sio:session:corrupt", "sio:session:another", "sio:session:nobody").Val() == 0
		})
	})
}

// A session that cannot be stored must not leave an older one of itself behind, which would be given out.
func TestSessionThatCannotBeStored(t *testing.T) {
	t.Parallel()
	onEachBackend(t, func(t *testing.T, b backend) {
		a, other := startSessions(t, b.addr, sessionsA), startSessions(t, b.addr, sessionsB)
		huge := strings.Repeat("x", maxSession)
		a.save(t, "p", "r")
		a.put("p", huge)
		if err := a.Save(soon(t), "p"); !errors.Is(err, errSessionSize) {
			t.Errorf("Save = %v, want %v", err, errSessionSize)
		}
		other.wantNone(t, "p")
		a.wantTake(t, "p", "a", huge) // nobody else can have it
		a.renew(time.Now())
		a.settle(t)
		other.wantNone(t, "p")
		a.save(t, "p", "r")
		other.wantTake(t, "p", "a", "r")

		a.mu.Lock()
		a.state["q"] = StoredSession{ID: "unspeakable"}
		refused := a.Refused()
		a.mu.Unlock()
		if err := a.Save(soon(t), "q"); err == nil || a.Refused() != refused+1 {
			t.Errorf("Save of what cannot be encoded = %v, counted %d times", err, a.Refused()-refused)
		}
	})
}

// Whoever asks for one of ours gets the newest, in whatever state its writing is.
func TestSessionOwnIsNewest(t *testing.T) {
	t.Parallel()
	onEachBackend(t, func(t *testing.T, b backend) {
		a, c := startSessions(t, b.addr, sessionsA), plainClient(t, b.addr)
		a.put("p", "r1")
		a.Changed("p")
		a.wantTake(t, "p", "a", "r1")
		a.save(t, "p", "r2")
		a.put("p", "r3") // and nobody says so
		a.wantLook(t, "p", "r3")
		if err := c.FlushAll(context.Background()).Err(); err != nil {
			t.Fatal(err)
		}
		a.wantTake(t, "p", "a", "r3")
		a.Release("p")
		a.wantTake(t, "p", "a", "r3")
		a.Changed("p")
		a.Drop("p")
		a.wantNone(t, "p")
	})
}

func TestSessionScriptsAreLoadedAgain(t *testing.T) {
	t.Parallel()
	onEachBackend(t, func(t *testing.T, b backend) {
		a, other, c := startSessions(t, b.addr, sessionsA), startSessions(t, b.addr, sessionsB), plainClient(t, b.addr)
		flush := func() {
			if err := c.ScriptFlush(context.Background()).Err(); err != nil {
				t.Fatal(err)
			}
		}
		a.save(t, "p", "r")
		flush()
		a.save(t, "p", "r2")
		flush()
		other.wantTake(t, "p", "a", "r2")
		a.wantLost(t, "p")
		flush()
		other.Drop("p")
		other.settle(t)
		a.wantNone(t, "p")
	})
}

// The clock is the caller's here: what is away too long is forgotten.
func TestSessionEnds(t *testing.T) {
	t.Parallel()
	a := startSessions(t, startRedis(t).addr, sessionsA)
	a.save(t, "here", "r")
	a.save(t, "away", "r")
	a.Release("away")
	a.settle(t)
	a.wantTake(t, "here", "a", "r")
	a.save(t, "here", "r")
	if got := a.Len(); got != 2 {
		t.Fatalf("%d sessions, want 2", got)
	}
	a.renew(time.Now().Add(away + time.Second))
	if got := a.Len(); got != 1 {
		t.Errorf("%d sessions when one has ended, want 1", got)
	}
	a.settle(t)
	if got := a.lost(); len(got) > 0 {
		t.Errorf("%q were lost, want none", got)
	}
}

func TestSessionExpiresAndIsRenewed(t *testing.T) {
	t.Parallel()
	addr := startRedis(t).addr
	c, ctx := plainClient(t, addr), context.Background()
	cfg := SessionsConfig{ID: "a", Window: 500 * time.Millisecond, Renew: 20 * time.Millisecond}
	a := startSessions(t, addr, cfg)
	a.save(t, "here", "r")
	a.save(t, "away", "r")
	for _, key := range a.keys("here") {
		if err := c.PExpire(ctx, key, 5*time.Second).Err(); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	a.Release("away")
	eventually(t, "the one who is away to expire", func() bool { return c.Exists(ctx, a.keys("away")...).Val() == 0 })
	if took := time.Since(began); took < cfg.Window {
		t.Errorf("it expired after %s, want %s", took, cfg.Window)
	}
	eventually(t, "it to be forgotten", func() bool { return a.Len() == 1 })
	for _, key := range a.keys("here") {
		eventually(t, "the other to be renewed", func() bool { return c.PTTL(ctx, key).Val() > 8*time.Second })
	}
	a.wantNone(t, "away")
	a.wantTake(t, "here", "a", "r")
	if got := a.lost(); len(got) > 0 {
		t.Errorf("%q were lost, want none", got)
	}
}

func TestSessionsRunTwice(t *testing.T) {
	t.Parallel()
	a := startSessions(t, startRedis(t).addr, sessionsA)
	if err := a.Run(context.Background(), nil, nil); err == nil {
		t.Error("a second Run = nil, want an error")
	}
}

// What waits when Run is to end is stored, and afterwards nobody is left to wait.
func TestSessionsRunEnds(t *testing.T) {
	t.Parallel()
	b := startRedis(t)
	a := newSessionServer(t, b.addr, sessionsA, zap.NewNop())
	const n = 2 * maxTurn
	for i := range n {
		pid := fmt.Sprint("p", i)
		a.put(pid, "r")
		a.Changed(pid)
	}
	a.start(t)
	a.end(t)
	if got := plainClient(t, b.addr).DBSize(context.Background()).Val(); got != 2*n {
		t.Errorf("%d keys, want two for each of %d sessions", got, n)
	}
	ctx := context.Background()
	if err := a.Save(ctx, "p1"); !errors.Is(err, errSessionsStopped) {
		t.Errorf("Save = %v, want %v", err, errSessionsStopped)
	}
	if _, _, _, err := a.Take(ctx, "p1"); !errors.Is(err, errSessionsStopped) {
		t.Errorf("Take = %v, want %v", err, errSessionsStopped)
	}
	a.Changed("p2")
	a.Release("p3")
	a.Drop("p4")
	if got := a.Waiting(); got != 0 {
		t.Errorf("%d changes wait for nobody, want none", got)
	}
}
