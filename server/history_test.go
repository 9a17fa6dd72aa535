package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/photo-management/event-bus/adapter"
	"github.com/photo-management/event-bus/auth"
)

// ledger is a log that a test writes and that is read as far as the test says, with the histories of its rooms.
type ledger struct {
	*bus
	start adapter.Position
	apply chan []adapter.Entry
	done  chan struct{} // one has been applied

	mu      sync.Mutex
	all     []adapter.Entry
	applied int
	rooms   map[string]int        // how many events it has had
	between func(context.Context) // comes when a history was read and is not told yet
	fault   error                 // of reading one
	reads   int
}

// keep starts a bus that keeps histories.
func keep(t testing.TB, config Config) *ledger {
	t.Helper()
	return keepFor(t, config, historyTimeout)
}

// keepFor is keep with a limit of its own to the wait for Redis.
func keepFor(t testing.TB, config Config, timeout time.Duration) *ledger {
	t.Helper()
	log := newFakeLog()
	l := &ledger{start: log.start, apply: make(chan []adapter.Entry), done: make(chan struct{}), rooms: map[string]int{}}
	log.tail = func(ctx context.Context, apply func([]adapter.Entry)) error {
		for {
			select {
			case entries := <-l.apply:
				apply(entries)
				l.done <- struct{}{}
			case <-ctx.Done():
				return nil
			}
		}
	}
	l.bus = newBus(t, setup{config: config, log: log, history: l.history, policy: auth.PolicyConfig{PhotoAccess: auth.PhotoAny}})
	l.bus.history.timeout = timeout
	l.run()
	close(l.source.subscribed)
	eventually(t, "the server to be ready", func() bool { return l.Ready() == nil })
	return l
}

// put changes the ledger under its lock.
func (l *ledger) put(change func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change()
}

// append writes events to the log: each is {"room":n}, its number in the room.
func (l *ledger) append(rooms ...string) {
	for _, room := range rooms {
		l.rooms[room]++
		l.write(adapter.Message{Rooms: []string{room}, Args: fmt.Appendf(nil, `"processing.event",%s`, inRoom(room, l.rooms[room]))})
	}
}

func inRoom(room string, n int) string { return fmt.Sprintf(`{%q:%d}`, room, n) }

func (l *ledger) write(m adapter.Message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, adapter.Entry{Position: adapter.Position{MS: l.start.MS + 1, Seq: uint64(len(l.all) + 1)}, Message: m})
}

// read takes n more entries to the sockets, or all.
func (l *ledger) read(n int) {
	l.mu.Lock()
	rest := l.all[l.applied:]
	rest = rest[:min(n, len(rest))]
	l.applied += len(rest)
	l.mu.Unlock()
	l.apply <- rest
	<-l.done
}

func (l *ledger) history(ctx context.Context, room string, n int) ([]adapter.Entry, error) {
	l.mu.Lock()
	l.reads++
	var found []adapter.Entry
	for _, e := range l.all {
		if slices.Contains(e.Rooms, room) {
			found = append(found, e)
		}
	}
	between, err := l.between, l.fault
	l.mu.Unlock()
	if between != nil {
		between(ctx)
		l.put(func() {}) // what it has done is known to who looks at the ledger next
	}
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return found[max(len(found)-n, 0):], err
}

const all = 1 << 30

// pastAnswer is what a client is told.
type pastAnswer struct {
	OK        bool
	Room      string
	History   []historyItem
	Truncated bool
}

type historyItem struct {
	Event, Offset string
	Args          []json.RawMessage
}

// since subscribes to a photo with a history, with an acknowledgement or without one, and returns what was told and the
// offset that came with it.
func (l *ledger) since(c *browser, photo string, n int, ack bool) (a pastAnswer, offset string) {
	c.t.Helper()
	l.put(func() {}) // what the test has done is known to who reads
	defer l.put(func() {})
	payload := fmt.Sprintf(`{"photoId":%q,"history":%d}`, photo, n)
	var e emitted
	var answer string
	if ack {
		e, answer = c.call("subscribe:photo", payload)
		if want := fmt.Sprintf(`{"room":"photo:%s"}`, photo); e.name != "subscribed" || e.arg != want {
			c.t.Fatalf("answered with %s %s, want subscribed %s", e.name, e.arg, want)
		}
	} else {
		c.send(`2["subscribe:photo",` + payload + `]`)
		if e = c.event(); e.name != "subscribed" {
			c.t.Fatalf("answered with %s %s, want subscribed", e.name, e.arg)
		}
		answer = e.arg
	}
	if err := json.Unmarshal([]byte(answer), &a); err != nil || a.OK != ack || a.Room != "photo:"+photo || a.History == nil {
		c.t.Fatalf("answered with %.300s: %v", answer, err)
	}
	return a, e.offset
}

// wantHistory checks that an answer has the events first..last of the room.
func wantHistory(t testing.TB, a pastAnswer, first, last int) {
	t.Helper()
	var got, want []string
	for _, h := range a.History {
		got = append(got, h.Event+" "+string(slices.Concat(h.Args...)))
	}
	for n := first; n <= last; n++ {
		want = append(want, "processing.event "+inRoom(a.Room, n))
	}
	if !slices.Equal(got, want) {
		t.Fatalf("the history is %q, want %d to %d", got, first, last)
	}
}

// Wherever the tail is, and whatever comes while Redis is asked: the history and what follows it are the end of the
// room's events, without a gap or a double.
func TestHistory(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name                 string
		before, read         int // events of the room in the log, and how many of them the tail has read
		between, readBetween int // the same while Redis is asked
		n                    int
		first, last          int // of the answer
		joined               int // how many were read then; the others follow
	}{
		{"all", 5, all, 0, 0, 10, 1, 5, 5},
		{"the last", 5, all, 0, 0, 3, 3, 5, 5},
		{"none", 0, all, 0, 0, 3, 1, 0, 0},
		{"the tail is behind", 5, 3, 0, 0, 10, 1, 3, 3},
		{"the tail is behind by more than is asked for", 5, 1, 0, 0, 3, 1, 0, 1},
		{"the tail catches up meanwhile", 5, 3, 0, all, 10, 1, 5, 5},
		{"the first come meanwhile", 0, all, 2, all, 10, 1, 2, 2},
		{"more come meanwhile", 5, all, 2, all, 10, 1, 7, 7},
		{"more come meanwhile than are asked for", 5, all, 4, all, 3, 7, 9, 9},
		{"more come meanwhile and are not read", 5, all, 2, 0, 10, 1, 5, 5},
		{"some of those are read", 5, 3, 3, 4, 10, 1, 7, 7},
	}
	for _, ack := range []bool{true, false} {
		l := keep(t, Config{})
		c := l.connect(t, token(t, "alice"))
		for i, tt := range tests {
			photo := fmt.Sprint("p", i)
			room := "photo:" + photo
			add := func(n, read int) {
				for range n {
					l.append(room)
				}
				l.read(read)
			}
			add(tt.before, tt.read)
			l.put(func() { l.between = func(context.Context) { add(tt.between, tt.readBetween) } })
			a, offset := l.since(c, photo, tt.n, ack)
			t.Run(fmt.Sprint(tt.name, ", ack ", ack), func(t *testing.T) { wantHistory(t, a, tt.first, tt.last) })
			if at := l.clients.Position().String(); offset != at {
				t.Errorf("%s: joined at %s, told %s", tt.name, at, offset)
			}
			l.append(room)
			l.read(all)
			for n := tt.joined + 1; n <= tt.before+tt.between+1; n++ {
				c.want("processing.event", inRoom(room, n))
			}
		}
	}
}

// The same with everything by chance, and several rooms: what is told and what comes then is always the end of the
// room's events, and an old offset never follows a newer one.
func TestHistoryByChance(t *testing.T) {
	t.Parallel()
	l := keep(t, Config{})
	c := l.connect(t, token(t, "alice"))
	dice := rand.New(rand.NewPCG(7, 7))
	rooms := []string{"photo:a", "photo:b", "photo:c", "user:x"}
	some := func(most int) {
		for range dice.IntN(most) {
			l.append(rooms[dice.IntN(len(rooms))])
		}
		l.read(dice.IntN(most))
	}
	overlapped, behind := 0, 0
	for i := range 600 {
		room := rooms[dice.IntN(3)]
		photo := strings.TrimPrefix(room, "photo:")
		some(12)
		asked, known := 0, 0
		between := func(context.Context) {
			known = l.rooms[room]
			some(8)
		}
		l.put(func() { l.between = between })
		asked = 1 + dice.IntN(10)
		a, offset := l.since(c, photo, asked, dice.IntN(2) == 0)
		at := l.clients.Position()
		if offset != at.String() {
			t.Fatalf("round %d: joined at %s, told %s", i, at, offset)
		}
		here := 0 // events of the room that the tail has read
		for _, e := range l.all[:l.applied] {
			if e.Rooms[0] == room {
				here++
			}
		}
		wantHistory(t, a, max(known-asked, here-asked, 0)+1, here)
		overlapped += max(here-known, 0)
		behind += max(known-here, 0)
		for range 1 + dice.IntN(3) {
			l.append(rooms[dice.IntN(len(rooms))])
		}
		l.append(room)
		l.read(all)
		for n := here + 1; n <= l.rooms[room]; n++ {
			c.want("processing.event", inRoom(room, n))
		}
		c.joins("unsubscribe:photo", fmt.Sprintf(`{"photoId":%q}`, photo))
	}
	if overlapped < 100 || behind < 100 {
		t.Errorf("%d events came meanwhile and %d were told before they were read: the test tests little", overlapped, behind)
	}
}

// What is told does not come again to one who comes back, and what comes later does.
func TestHistoryThenRecovery(t *testing.T) {
	t.Parallel()
	for _, ack := range []bool{true, false} {
		l := keep(t, Config{})
		c := l.connect(t, token(t, "alice"))
		l.append("photo:p", "photo:p", "photo:p")
		l.read(2)
		l.put(func() { l.between = func(context.Context) { l.append("photo:p") } })
		a, offset := l.since(c, "p", 10, ack)
		wantHistory(t, a, 1, 2)
		c.leave()
		l.read(all)
		l.append("photo:p")
		l.read(all)
		c = l.back(t, c, token(t, "alice"), offset)
		for n := 3; n <= 5; n++ {
			c.want("processing.event", inRoom("photo:p", n))
		}
		c.quiet()
		if got := l.bus.rooms(c); !slices.Equal(got, []string{"photo:p"}) {
			t.Errorf("it is in %q", got)
		}
	}
}

// Where clients are not recovered, nothing is kept for that, but enough for this.
func TestHistoryWithoutRecovery(t *testing.T) {
	t.Parallel()
	var config Config
	config.Socket.RecoveryWindow = -1
	l := keep(t, config)
	c := l.connect(t, token(t, "alice"))
	l.append("photo:p", "photo:p")
	l.read(all)
	between := func(context.Context) {
		l.append("photo:p", "photo:p")
		l.read(1)
	}
	l.put(func() { l.between = between })
	a, offset := l.since(c, "p", 10, true)
	if wantHistory(t, a, 1, 3); offset != "" {
		t.Errorf("told the offset %s, which is of no use", offset)
	}
	l.read(all)
	c.want("processing.event", inRoom("photo:p", 4))
}

// Events say what they are: their name, all their arguments, their place. What JSON cannot hold is left out, and what
// was not for this client.
func TestHistoryItems(t *testing.T) {
	t.Parallel()
	l := keep(t, Config{})
	c := l.connect(t, token(t, "alice"))
	c.joins("identify", `{"clientId":"c"}`)
	lookalike := `{"_placeholder":true,"num":-1,"base64":"eA=="}`
	write := func() {
		for _, m := range []adapter.Message{
			{Args: []byte(`"no.args"`)},
			{Args: []byte(`"more \"args\"",1,[{"a":"],"}],"text"`)},
			{Args: []byte(`"binary",` + lookalike), Binary: true},
			{Args: []byte(`"lookalike",` + lookalike)},
			{Args: []byte(`"volatile",1`), Volatile: true},
			{Kind: adapter.Leave, Into: []string{"photo:p"}},
			{Args: []byte(`"excepted",1`), Except: []string{c.sid}},
			{Args: []byte(`"excepted",2`), Except: []string{"elsewhere", "client:c"}},
			{Args: []byte(`"last","<größe 🙂>"`), Except: []string{"elsewhere"}},
		} {
			m.Rooms = []string{"photo:p"}
			l.write(m)
		}
		l.read(all)
	}
	items := []string{
		`no.args []`, `more "args" [1 [{"a":"],"}] "text"]`, `lookalike [` + lookalike + `]`, `last ["<größe 🙂>"]`,
	}
	check := func(a pastAnswer, want []string) {
		t.Helper()
		var got []string
		for _, h := range a.History {
			got = append(got, fmt.Sprintf("%s %s", h.Event, h.Args))
			p, err := adapter.ParsePosition(h.Offset)
			if i := slices.IndexFunc(l.all, func(e adapter.Entry) bool { return e.Position == p }); err != nil || i < 0 {
				t.Errorf("%s has the offset %q", h.Event, h.Offset)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	}
	write()
	a, _ := l.since(c, "p", 100, true)
	check(a, items)
	c.joins("unsubscribe:photo", `{"photoId":"p"}`)
	l.put(func() { l.between = func(context.Context) { write() } }) // and the same from memory
	a, _ = l.since(c, "p", 100, true)
	check(a, slices.Concat(items, items))
}

// An answer is bounded in bytes: the oldest are left out, and that is said.
func TestHistoryIsBounded(t *testing.T) {
	t.Parallel()
	var small Config
	small.Socket.Engine.MaxQueue = 100 << 10
	for _, tt := range []struct {
		name   string
		config Config
		sizes  []int // of the events, in KiB
		want   int   // of them, the last
	}{
		{"nothing", Config{}, nil, 0},
		{"all fits", Config{}, []int{100, 100, 55}, 3},
		{"too much", Config{}, []int{1, 100, 100, 56}, 2},
		{"the last is too large", Config{}, []int{1, 257}, 0},
		{"half of what may be queued", small, []int{20, 20, 20}, 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			l := keep(t, tt.config)
			c := l.connect(t, token(t, "alice"))
			for i, size := range tt.sizes {
				l.write(adapter.Message{Rooms: []string{"photo:p"}, Args: fmt.Appendf(nil, `"n",%d,"%s"`, i, strings.Repeat("x", size<<10))})
			}
			l.read(all)
			a, _ := l.since(c, "p", 100, true)
			if len(a.History) != tt.want || a.Truncated != (tt.want < len(tt.sizes)) {
				t.Fatalf("%d events, truncated %v, want %d of %d", len(a.History), a.Truncated, tt.want, len(tt.sizes))
			}
			for i, h := range a.History {
				if want := fmt.Sprint(len(tt.sizes) - tt.want + i); string(h.Args[0]) != want {
					t.Errorf("event %s in place of %s", h.Args[0], want)
				}
			}
			c.quiet()
		})
	}
}

// refused checks that a subscription comes to nothing, and says why.
func (l *ledger) refused(t *testing.T, c *browser, payload, problem string) {
	t.Helper()
	l.put(func() {}) // what the test has done is known to who reads
	defer l.put(func() {})
	e, ack := c.call("subscribe:photo", payload)
	if want := `{"event":"subscribe:photo","message":"` + problem + `"}`; e.name != "error" || e.arg != want {
		t.Errorf("%s is answered with %s %s, want error %s", payload, e.name, e.arg, want)
	}
	if want := `{"ok":false,"error":"` + problem + `"}`; ack != want {
		t.Errorf("%s is acknowledged with %s, want %s", payload, ack, want)
	}
	if got := l.bus.rooms(c); len(got) > 0 {
		t.Errorf("%s: it is in %q", payload, got)
	}
}

func TestHistoryAskedBadly(t *testing.T) {
	t.Parallel()
	l := keep(t, Config{})
	c := l.connect(t, token(t, "alice"))
	for _, n := range []string{`-1`, `101`, `1.5`, `1e400`, `"10"`, `true`, `[]`, `{}`, `""`} {
		l.refused(t, c, `{"photoId":"p","history":`+n+`}`, "history: want a whole number from 0 to 100")
	}
	l.refused(t, c, `{"history":-1}`, "photoId: want a non-empty string")
	if l.reads > 0 {
		t.Errorf("%d histories were read", l.reads)
	}
	l.append("photo:p")
	l.read(all)
	for _, n := range []string{`0`, `null`, `0.0`, `-0`} { // as ever
		e, ack := c.call("subscribe:photo", `{"photoId":"p","history":`+n+`}`)
		if e.name != "subscribed" || e.arg != `{"room":"photo:p"}` || ack != `{"ok":true,"room":"photo:p"}` {
			t.Errorf("%s is answered with %s %s and acknowledged with %s", n, e.name, e.arg, ack)
		}
	}
	for _, n := range []string{`1`, `1e2`, `100.0`} {
		e, ack := c.call("subscribe:photo", `{"photoId":"p","history":`+n+`}`)
		if want := `{"ok":true,"room":"photo:p","history":[{"event"`; e.arg != `{"room":"photo:p"}` || !strings.HasPrefix(ack, want) {
			t.Errorf("%s is answered with %s and acknowledged with %s", n, e.arg, ack)
		}
	}
}

func TestHistoryNotKept(t *testing.T) {
	t.Parallel()
	policy := auth.PolicyConfig{PhotoAccess: auth.PhotoAny}
	none := func(context.Context, string, int) ([]adapter.Entry, error) { return nil, adapter.ErrNoHistory }
	for _, b := range []*bus{start(t, setup{policy: policy}), start(t, setup{policy: policy, history: none})} {
		c := b.connect(t, token(t, "alice"))
		l := &ledger{bus: b}
		l.refused(t, c, `{"photoId":"p","history":10}`, "history is not kept here")
		c.joins("subscribe:photo", `{"photoId":"p"}`) // which it can do then
		b.wantMetric(1, "client_events_refused_total")
	}
}

// Nobody hears of a photo that is not his.
func TestHistoryDenied(t *testing.T) {
	t.Parallel()
	read := make(chan struct{}, 1)
	b := start(t, setup{history: func(context.Context, string, int) ([]adapter.Entry, error) {
		read <- struct{}{}
		return nil, nil
	}})
	c := b.connect(t, token(t, "eve"))
	wantDenied(t, c, "subscribe:photo", `{"photoId":"p","history":10}`)
	if len(read) > 0 {
		t.Error("the history was read")
	}
}

// A Redis that fails, or does not answer in time, costs the history and nothing else. Others do not wait, and what the
// client sent afterwards does.
func TestHistoryUnavailable(t *testing.T) {
	t.Parallel()
	l := keepFor(t, Config{}, 100*time.Millisecond)
	c, other := l.connect(t, token(t, "alice")), l.connect(t, token(t, "bob"))
	const unavailable = "History unavailable"
	l.put(func() { l.fault = errors.New("redis is away") })
	l.refused(t, c, `{"photoId":"p","history":10}`, unavailable)
	l.refused(t, c, `{"photoId":"p","history":10}`, unavailable)
	if got := l.logs.FilterMessage("history not read").Len(); got != 1 {
		t.Errorf("%d lines in the log, want one a burst", got)
	}
	l.wantMetric(0, "client_events_refused_total")

	l.put(func() { l.fault = nil })
	asked := make(chan struct{})
	l.put(func() {
		l.between = func(ctx context.Context) {
			close(asked)
			<-ctx.Done()
		}
	})
	c.send(`2["subscribe:photo",{"photoId":"p","history":10}]`)
	c.send(`2["subscribe:photo",{"photoId":"p"}]`)
	<-asked
	other.quiet()
	c.want("error", `{"event":"subscribe:photo","message":"`+unavailable+`"}`)
	c.want("subscribed", `{"room":"photo:p"}`)
}

// Where too much came meanwhile to be kept, Redis is asked again, and not for ever.
func TestHistoryOvertaken(t *testing.T) {
	t.Parallel()
	var config Config
	config.Socket.RecoveryBytes = 1
	l := keep(t, config)
	c := l.connect(t, token(t, "alice"))
	times := 0
	between := func(context.Context) {
		if times--; times >= 0 {
			l.append("photo:p", "photo:other")
			l.read(all)
		}
	}
	l.put(func() { l.between = between })
	times = 2
	a, _ := l.since(c, "p", 10, true)
	wantHistory(t, a, 1, 2)
	c.joins("unsubscribe:photo", `{"photoId":"p"}`)
	times = 3
	l.refused(t, c, `{"photoId":"p","history":10}`, "History unavailable")
	if l.reads != 6 {
		t.Errorf("asked %d times, want 3 for each", l.reads)
	}
}

// BenchmarkHistory is what an answer costs while the rooms are locked: here for the largest one.
func BenchmarkHistory(b *testing.B) {
	var entries []adapter.Entry
	for n := range maxHistory {
		args := fmt.Appendf(nil, `"processing.event",{"data":%q}`, strings.Repeat("x", 2400))
		entries = append(entries, adapter.Entry{Position: adapter.Position{MS: 1, Seq: uint64(n + 1)}, Message: adapter.Message{Args: args}})
	}
	h := newHistory(nil, 4<<20)
	read, fresh := appendPast(nil, entries[:90], adapter.Position{}), entries[90:]
	b.ReportAllocs()
	for b.Loop() {
		answer := h.answer(`{"room":`, "photo:p", read.until(entries[maxHistory-1].Position, fresh), maxHistory)
		b.SetBytes(int64(len(answer)))
	}
}
