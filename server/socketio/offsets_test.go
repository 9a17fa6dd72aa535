package socketio

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/photo-management/event-bus/adapter"
)

// follower reads numbered events as socket.io-client does: what is text at the end of an event is its offset.
type follower struct {
	*raw
	t      *testing.T
	id     identity
	offset adapter.Position
	last   int // number of the last event; before the first, that of the position it joined at
}

// follow reads one packet and checks that numbers rise by one and offsets never go back.
func (f *follower) follow(packet string) {
	f.t.Helper()
	var data []json.RawMessage
	if err := json.Unmarshal([]byte(packet[1:]), &data); err != nil {
		f.t.Fatalf("%s: %v", packet, err)
	}
	var text string
	if err := json.Unmarshal(data[len(data)-1], &text); err != nil {
		f.t.Fatalf("%s has no offset", packet)
	}
	p, err := adapter.ParsePosition(text)
	if err != nil || p.Compare(f.offset) < 0 {
		f.t.Fatalf("%s after offset %v", packet, f.offset)
	}
	f.offset = p
	switch string(data[0]) {
	case `"n"`:
		var n int
		if err := json.Unmarshal(data[1], &n); err != nil || n != f.last+1 || p != at(n) {
			f.t.Fatalf("%s after number %d", packet, f.last)
		}
		f.last = n
	case `"joined"`, `"note"`: // at the position of the last broadcast, which is the last that came once one has joined
		if f.last >= 0 && p != at(f.last) {
			f.t.Fatalf("%s after number %d", packet, f.last)
		}
		f.last = int(p.Seq)
	default:
		f.t.Fatalf("got %s", packet)
	}
}

// Clients join a room by EmitAt while it is broadcast to, drop after any number of events and come back: they see
// every number once, in order, and no offset goes back.
func TestNothingMissedNothingDoubled(t *testing.T) {
	t.Parallel()
	s := serve(t, recovering, func(s *Server) {
		joiner(s)
		s.Of("/").On("note", func(_ context.Context, s *Socket, _ *Event) { _ = s.EmitAt(nil, "note") })
	})
	stop := make(chan struct{})
	var broadcaster sync.WaitGroup
	broadcaster.Go(func() {
		dice := rand.New(rand.NewPCG(1, 1))
		for n := 0; ; {
			select {
			case <-stop:
				return
			default:
			}
			batch := make([]adapter.Entry, 1+dice.IntN(3))
			for i := range batch {
				n++
				batch[i] = adapter.Entry{Position: at(n), Message: adapter.Message{
					Rooms: []string{"a", fmt.Sprint("other", n%4)}, Args: fmt.Appendf(nil, `"n",%d`, n)}}
			}
			s.Deliver(batch)
			if dice.IntN(3) == 0 {
				time.Sleep(time.Duration(dice.IntN(500)) * time.Microsecond) // leave some time to the clients
			}
		}
	})
	t.Cleanup(func() { close(stop); broadcaster.Wait() })
	for i := range 6 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			dice := rand.New(rand.NewPCG(uint64(i), 2))
			f := &follower{t: t, last: -1}
			f.raw = s.dial(t)
			f.id = f.enter("/", "")
			f.send(`2["join",["a"]]`)
			for range 15 {
				for range 1 + dice.IntN(40) {
					if dice.IntN(20) == 0 {
						f.send(`2["note"]`)
					}
					f.follow(f.next())
				}
				if dice.IntN(2) == 0 {
					f.drop() // otherwise it takes over
				}
				c, _, ok := s.comeBack(t, f.id, f.offset.String())
				if !ok {
					t.Fatalf("not recovered from %v", f.offset)
				}
				f.drop()
				f.raw = c
			}
		})
	}
}

// The same over Emit, which makes its own positions.
func TestEmitOffsets(t *testing.T) {
	t.Parallel()
	s := serve(t, Options{RecoveryWindow: time.Minute}, joiner)
	n := s.Of("/")
	c := s.dial(t)
	id := c.enter("/", "")
	c.send(`2["join",["a"]]`)
	offset := lastOffset(t, c.next())
	number := 0
	read := func(c *raw) {
		packet := c.next()
		number++
		next := lastOffset(t, packet)
		if want := fmt.Sprintf(`2["n",%d,"%s"]`, number, next); packet != want || next.Compare(offset) <= 0 {
			t.Fatalf("got %s after %v, want %s", packet, offset, want)
		}
		offset = next
	}
	for sent, seen := 0, 0; seen < 200; {
		for range 1 + sent%7 {
			sent++
			_ = n.To("a").Emit("n", sent)
			_ = n.To("b").Emit("elsewhere")
		}
		for range min(1+sent%5, sent-seen) {
			seen++
			read(c)
		}
		if sent%3 == 0 {
			c.drop()
			var ok bool
			if c, _, ok = s.comeBack(t, id, offset.String()); !ok {
				t.Fatalf("not recovered from %v", offset)
			}
		}
	}
}

func lastOffset(t *testing.T, packet string) adapter.Position {
	t.Helper()
	var data []any
	if err := json.Unmarshal([]byte(packet[1:]), &data); err != nil {
		t.Fatalf("%s: %v", packet, err)
	}
	text, _ := data[len(data)-1].(string)
	p, err := adapter.ParsePosition(text)
	if err != nil {
		t.Fatalf("%s ends with no offset", packet)
	}
	return p
}

// A client with a pid takes the last argument of any event for its offset if it is text. So each event that ends
// with text must have an offset behind it, or the client can never come back. One with an ack has none: there the
// last argument is the callback.
func TestEveryEventThatEndsWithTextHasAnOffset(t *testing.T) {
	t.Parallel()
	sockets := make(chan *Socket, 1)
	s := serve(t, recovering, asker(sockets))
	c := s.client(t)
	socket := <-sockets
	s.log(1)
	c.want(logged(1))
	for name, emit := range map[string]func() error{
		"Socket.Emit":   func() error { return socket.Emit("x", "text") },
		"Socket.EmitAt": func() error { return socket.EmitAt(nil, "x", "text") },
		"volatile":      func() error { return s.Of("/").To().Volatile().Emit("x", "text") },
		"raw":           func() error { return socket.Emit("x", rawJSON(`"text"`)) },
	} {
		t.Run(name, func(t *testing.T) {
			if err := emit(); err != nil {
				t.Fatal(err)
			}
			if got, want := c.next(), `2["x","text","`+at(1).String()+`"]`; got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	}
	if err := socket.Emit("x", rawJSON("\"text\"\n")); err != nil { // json.Encoder ends like this
		t.Fatal(err)
	}
	if got := lastOffset(t, c.next()); got != at(1) {
		t.Errorf("got offset %v, want %v", got, at(1))
	}
	_ = socket.Emit("x") // the name is an argument too, and the last
	c.want(`2["x","` + at(1).String() + `"]`)
	got := ask(context.Background(), socket, "q", "text")
	c.want(`20["q","text"]`)
	c.send(`30["answer"]`)
	(<-got).want(t, `"answer"`, nil)
	_ = s.Of("/").Emit("b", Binary("x"))
	offset := s.Of("/").rooms.Position()
	c.want(`51-["b",{"_placeholder":true,"num":0},"`+offset.String()+`"]`, "binary:x")
}
