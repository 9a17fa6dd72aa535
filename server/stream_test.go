package server

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// stream publishes numbered events until the test is over, for a photo and the client c. There is one a millisecond, so
// that little waits for those who return.
func (b *bus) stream(t *testing.T, photo string) {
	t.Helper()
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for i := 0; ; i++ {
			<-tick.C
			m := incoming{"photo:completion", []byte(numbered(photo, i)), make(chan struct{})}
			select {
			case b.source.in <- m:
				<-m.heard
			case <-stop:
				return
			}
		}
	}()
	t.Cleanup(func() {
		close(stop)
		<-stopped
	})
}

func numbered(photo string, i int) string {
	return event(fmt.Sprint(photo, "-", i), "photo.processing.completed", fmt.Sprintf(`"photoId":%q,"n":%d`, photo, i), `,"clientId":"c"`)
}

// number is which of the numbered events e is.
func number(t *testing.T, e emitted) (n int) {
	t.Helper()
	if _, err := fmt.Sscanf(e.arg, `{"id":"p-%d"`, &n); err != nil || e.name != "completion.event" || e.arg != numbered("p", n) {
		t.Fatalf("got %s %.300s, want a numbered event", e.name, e.arg)
	}
	return n
}

// While events stream in, clients subscribe, leave, return and identify anew: from the answer to its first subscription on,
// each hears every event once and in order.
func TestStream(t *testing.T) {
	t.Parallel()
	b := start(t, setup{})
	b.owners.put(func(o *fakeOwners) { o.known["p"] = "alice" })
	b.stream(t, "p")
	alice := token(t, "alice")
	t.Run("clients", func(t *testing.T) {
		for i := range 4 {
			t.Run(fmt.Sprint(i), func(t *testing.T) {
				t.Parallel()
				c := b.connect(t, alice)
				c.send(`2["subscribe:photo",{"photoId":"p"}]`)
				offset := c.want("subscribed", `{"room":"photo:p"}`) // before the first of its events
				last := -1
				for round := range 15 {
					for range 10 * (1 + (round+i)%3) {
						e := c.event()
						n := number(t, e)
						if last >= 0 && n != last+1 {
							t.Fatalf("event %d follows %d", n, last)
						}
						last, offset = n, e.offset
					}
					if round%2 == i%2 {
						c.leave() // what is on its way is lost
					}
					left := c
					if c = b.back(t, left, alice, offset); c.sid != left.sid {
						t.Fatal("it is not recovered")
					}
				}
			})
		}
	})
}

// A subscription beside a stream of other events does not change the order of what else one hears.
func TestStreamWhileSubscribing(t *testing.T) {
	t.Parallel()
	b := start(t, setup{})
	b.owners.put(func(o *fakeOwners) { o.known["q"] = "alice" })
	b.stream(t, "p")
	c := b.connect(t, token(t, "alice"))
	c.send(`2["identify",{"clientId":"c"}]`)
	if e := c.event(); e.name != "identified" {
		t.Fatalf("got %s, want identified", e.name)
	}
	last, answers := -1, 0
	for range 20 {
		c.send(`2["subscribe:photo",{"photoId":"q"}]`)
		c.send(`2["unsubscribe:photo",{"photoId":"q"}]`)
	}
	for answers < 40 || last < 100 {
		e := c.event()
		if want := []string{"subscribed", "unsubscribed"}[answers%2]; e.name == want {
			answers++
			continue
		}
		n := number(t, e)
		if last >= 0 && n != last+1 {
			t.Fatalf("event %d follows %d", n, last)
		}
		last = n
	}
}

// A client may return in the very moment in which the server notices that it left. It is in its rooms then, or told that
// it is not recovered.
func TestReturnWhileLeaving(t *testing.T) {
	t.Parallel()
	b := start(t, setup{})
	t.Run("clients", func(t *testing.T) {
		for range 8 {
			t.Run("", func(t *testing.T) {
				t.Parallel()
				alice := token(t, "alice")
				c := b.connect(t, alice)
				offset := c.joins("identify", `{"clientId":"c"}`)
				for range 200 {
					left := c
					c = b.dial(t, nil)
					left.conn.Close()
					c.enter(fmt.Sprintf(`{"token":%q,"pid":%q,"offset":%q}`, alice, left.pid, offset))
					c.quiet()
					if got := b.rooms(c); c.sid == left.sid && !slices.Equal(got, []string{"client:c", "user:alice"}) {
						t.Fatalf("recovered without a word into the rooms %q", got)
					} else if c.sid != left.sid {
						offset = c.joins("identify", `{"clientId":"c"}`)
					}
				}
			})
		}
	})
}
