package socketio

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/photo-management/event-bus/adapter"
)

// sinceJoiner joins a room by JoinSince on "since": the arguments are the room and a position. What it got is told by
// "joined", as numbers and in brackets, and acknowledged if that is wanted. An error is told by "failed".
func sinceJoiner(s *Server) {
	s.Of("/").On("since", func(_ context.Context, s *Socket, e *Event) {
		var room, text string
		_ = e.Decode(&room, &text)
		since, err := adapter.ParsePosition(text)
		if err != nil {
			since = s.Namespace().Position()
		}
		err = e.JoinSince(room, since, "joined", func(at adapter.Position, past []adapter.Entry) (told, ack json.RawMessage) {
			var got []json.RawMessage
			for _, p := range past {
				if p.Binary {
					got = append(got, json.RawMessage(`"binary"`))
					continue
				}
				_, args := SplitArgs(p.Args)
				got = append(got, args, json.RawMessage(`"`+p.Position.String()+`"`))
			}
			told, _ = json.Marshal(map[string]any{"at": at.String(), "past": got})
			return told, json.RawMessage(`{"ok":true}`)
		})
		if err != nil {
			_ = s.Emit("failed", map[string]string{"error": err.Error()})
			_ = e.Ack(false)
		}
	})
}

// Who joins is told what was broadcast to the room before, and gets the rest behind that.
func TestJoinSince(t *testing.T) {
	t.Parallel()
	s := serve(t, recovering, sinceJoiner)
	c := s.client(t)
	s.log(1, "a")
	s.log(2, "b", "a")
	s.log(3, "b")
	s.log(4)
	c.want(logged(4))
	s.log(5, "a")
	c.send(`27["since","a","` + at(1).String() + `"]`)
	c.want(`2["joined",{"at":"9-5","past":[2,"9-2",5,"9-5"]},"9-5"]`, `37[{"ok":true}]`)
	s.log(6, "a")
	c.want(logged(6))
	c.send(`2["since","b","` + at(6).String() + `"]`)
	c.want(`2["joined",{"at":"9-6","past":null},"9-6"]`)
	c.send(`28["since","c","` + at(7).String() + `"]`) // which never was
	c.want(`2["failed",{"error":"broadcasts since then are no longer kept"}]`, `38[false]`)
	s.log(7, "b")
	s.log(8, "c")
	c.want(logged(7))
	c.wantNothing()
}

// What the entries say is what was emitted, whatever it looks like on the wire.
func TestJoinSinceTellsWhatWasSent(t *testing.T) {
	t.Parallel()
	lookalike := `{"_placeholder":true,"num":-1,"base64":"eA=="}`
	tests := []struct {
		name string
		m    adapter.Message
		want string // of past
	}{
		{"no argument", adapter.Message{Args: []byte(`"n"`)}, `[null,"9-1"]`},
		{"ends with text", adapter.Message{Args: []byte(`"n","9-1"`)}, `["9-1","9-1"]`},
		{"ends with brackets", adapter.Message{Args: []byte(`"n",[[1]]`)}, `[[[1]],"9-1"]`},
		{"looks binary", adapter.Message{Args: []byte(`"n",` + lookalike)}, `[` + lookalike + `,"9-1"]`},
		{"binary", adapter.Message{Args: []byte(`"n",` + lookalike), Binary: true}, `["binary"]`},
		{"volatile", adapter.Message{Args: []byte(`"n",1`), Volatile: true}, `null`},
		{"excepted", adapter.Message{Args: []byte(`"n",1`), Except: []string{"a"}}, `null`},
	}
	for _, recovery := range []time.Duration{0, time.Minute} {
		for _, tt := range tests {
			t.Run(fmt.Sprint(tt.name, " ", recovery), func(t *testing.T) {
				t.Parallel()
				s := serve(t, Options{RecoveryWindow: recovery, HistoryWindow: time.Second, Start: at(0)}, sinceJoiner)
				c := s.client(t)
				tt.m.Rooms = []string{"a"}
				s.Deliver([]adapter.Entry{{Position: at(1), Message: tt.m}})
				offset := `,"9-1"`
				if recovery == 0 {
					offset = ""
				}
				c.send(`2["since","a","9-0"]`)
				c.want(`2["joined",{"at":"9-1","past":` + tt.want + `}` + offset + `]`)
			})
		}
	}
}

// The namespace is in the frames, and not in what is told of them.
func TestJoinSinceInANamespace(t *testing.T) {
	t.Parallel()
	past := make(chan []adapter.Entry, 1)
	s := serve(t, recovering, func(s *Server) {
		s.Of("/n[1").On("since", func(_ context.Context, s *Socket, e *Event) {
			_ = e.JoinSince("a", at(0), "joined", func(_ adapter.Position, p []adapter.Entry) (told, ack json.RawMessage) {
				past <- p
				return json.RawMessage(`{}`), nil
			})
		})
	})
	s.Deliver([]adapter.Entry{{Position: at(1), Message: adapter.Message{Namespace: "/n[1", Rooms: []string{"a"}, Args: []byte(`"n",1`)}}})
	c := s.dial(t)
	c.enter("/n[1", "")
	c.send(`2/n[1,5["since"]`)
	c.want(`2/n[1,["joined",{},"9-1"]`)
	if got := <-past; len(got) != 1 || string(got[0].Args) != `"n",1` || got[0].Namespace != "/n[1" {
		t.Errorf("told of %+v", got)
	}
}

// What was not kept is not joined, and not stored either.
func TestJoinSinceStores(t *testing.T) {
	t.Parallel()
	net := join(t, 1, sinceJoiner)
	x := net.nodes[0]
	saved := make(chan string, 10)
	var taken atomic.Bool
	x.store.before = func(_ context.Context, pid string) error {
		if taken.Load() {
			return adapter.ErrTaken
		}
		session, _ := x.Session(pid)
		saved <- fmt.Sprint(session.Rooms[1:])
		return nil
	}
	c := x.dial(t)
	id := c.enter("/", "")
	c.wantNothing()
	x.store.told(id.PID)
	for _, tt := range []struct{ since, answer, calls, session string }{
		{"9-7", `2["failed",{"error":"` + ErrPast.Error() + `"}]`, "save changed", " "},
		{"9-0", `2["joined",{"at":"9-0","past":null},"9-0"]`, "save", "a "},
	} {
		c.send(`2["since","a","` + tt.since + `"]`)
		c.want(tt.answer)
		if got := <-saved; got != "[a]" {
			t.Errorf("stored %s before it was told, want [a]", got)
		}
		c.wantNothing()
		if got := x.store.told(id.PID); got != tt.calls {
			t.Errorf("the store was told %q, want %q", got, tt.calls)
		}
		if got := x.stored(t, id); got != tt.session {
			t.Errorf("stored %q at last, want %q", got, tt.session)
		}
	}
	taken.Store(true)
	c.send(`2["since","b","9-0"]`)
	c.wantClosed()
}

// Clients join by JoinSince from any place while a room is broadcast to, drop and come back: all that they are told and
// get is every number once, in order.
func TestJoinSinceMissesNothing(t *testing.T) {
	t.Parallel()
	s := serve(t, recovering, func(s *Server) {
		s.Of("/").On("since", func(_ context.Context, s *Socket, e *Event) {
			since := s.Namespace().Position()
			time.Sleep(time.Duration(rand.IntN(2000)) * time.Microsecond) // as if somebody was asked
			err := e.JoinSince("a", since, "joined", func(p adapter.Position, past []adapter.Entry) (told, ack json.RawMessage) {
				numbers := []int{}
				for _, e := range past {
					numbers = append(numbers, int(e.Position.Seq))
				}
				told, _ = json.Marshal(map[string]any{"since": since.Seq, "at": p.Seq, "past": numbers})
				return told, nil
			})
			if err != nil && !errors.Is(err, ErrDisconnected) {
				t.Error(err)
			}
		})
		s.Of("/").On("leave", func(_ context.Context, s *Socket, e *Event) {
			s.Leave("a")
			_ = e.Ack()
		})
	})
	stop := make(chan struct{})
	var broadcaster sync.WaitGroup
	broadcaster.Go(func() {
		for n := 1; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			s.log(n, "a", fmt.Sprint("other", n%3))
			time.Sleep(100 * time.Microsecond) // leave some time to the clients
		}
	})
	t.Cleanup(func() { close(stop); broadcaster.Wait() })
	for i := range 6 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			dice := rand.New(rand.NewPCG(uint64(i), 3))
			c := s.dial(t)
			id := c.enter("/", "")
			told := 0
			for range 20 {
				c.send(`2["since"]`)
				var answer struct {
					Since, At int
					Past      []int
				}
				packet := c.next()
				parts := elements([]byte(packet[1:]))
				if err := json.Unmarshal(parts[1], &answer); err != nil || string(parts[0]) != `"joined"` {
					t.Fatalf("got %s, want the answer first", packet)
				}
				for j, n := range answer.Past {
					if n != answer.Since+1+j {
						t.Fatalf("told %v since %d", answer.Past, answer.Since)
					}
				}
				if len(answer.Past) != answer.At-answer.Since {
					t.Fatalf("told %v since %d, joined at %d", answer.Past, answer.Since, answer.At)
				}
				told += len(answer.Past)
				last := answer.At
				for range dice.IntN(20) {
					last++
					c.want(logged(last))
				}
				if dice.IntN(2) == 0 { // what it is told now begins where it was
					c.drop()
					var ok bool
					if c, _, ok = s.comeBack(t, id, at(last).String()); !ok {
						t.Fatalf("not recovered from %d", last)
					}
					for range dice.IntN(20) {
						last++
						c.want(logged(last))
					}
				}
				c.send(`29["leave"]`)
				for packet = c.next(); packet != `39[]`; packet = c.next() {
					if last++; packet != logged(last) {
						t.Fatalf("got %s, want number %d", packet, last)
					}
				}
			}
			if told == 0 {
				t.Error("nothing was broadcast between: the test tests nothing")
			}
		})
	}
}

func TestSplitArgs(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ event, name, args string }{
		{`"n"`, `"n"`, ``},
		{`"n",1`, `"n"`, `1`},
		{`"n",[1,{"a":"],"}],null`, `"n"`, `[1,{"a":"],"}],null`},
		{`"a,\"b",""`, `"a,\"b"`, `""`},
		{`"n" , 1`, `"n"`, `1`},
		{`7,"x"`, `7`, `"x"`},
	} {
		if name, args := SplitArgs([]byte(tt.event)); string(name) != tt.name || string(args) != tt.args {
			t.Errorf("%s is %s and %s, want %s and %s", tt.event, name, args, tt.name, tt.args)
		}
	}
}
