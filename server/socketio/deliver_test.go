package socketio

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/photo-management/event-bus/adapter"
	"github.com/photo-management/event-bus/server/engineio"
)

// spread is a client on each of some servers, the i-th in room r and room i.
type spread struct {
	*network
	clients []*raw
	ids     []identity
	sockets []*Socket
}

func newSpread(t *testing.T, n int, register func(*Server)) *spread {
	s := &spread{network: join(t, n, func(s *Server) {
		s.Of("/chat")
		if register != nil {
			register(s)
		}
	})}
	for i, x := range s.nodes {
		c := x.dial(t)
		id := c.enter("/", "")
		s.clients, s.ids = append(s.clients, c), append(s.ids, id)
		socket := x.Of("/").To(id.SID).Sockets()[0]
		socket.Join("r", fmt.Sprint(i))
		s.sockets = append(s.sockets, socket)
	}
	return s
}

// got checks who gets the packet next, and that nobody gets anything else. The log is at its end.
func (s *spread) got(packet string, who ...int) {
	s.t.Helper()
	s.settle()
	for i, c := range s.clients {
		if slices.Contains(who, i) {
			c.want(packet)
		}
		c.wantNothing()
	}
}

func TestEmitReachesAllServers(t *testing.T) {
	t.Parallel()
	s := newSpread(t, 3, nil)
	n := s.nodes[0].Of("/")
	emit := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	offset := func(n int) string { return at(n).String() }
	emit(n.Emit("x", 1))
	s.got(`2["x",1,"`+offset(1)+`"]`, 0, 1, 2)
	emit(n.To("1", "2").Emit("x"))
	s.got(`2["x","`+offset(2)+`"]`, 1, 2)
	emit(n.To("r").Except("1").Emit("x"))
	s.got(`2["x","`+offset(3)+`"]`, 0, 2)
	emit(s.sockets[1].To().Emit("x"))
	s.got(`2["x","`+offset(4)+`"]`, 0, 2)
	emit(n.To(s.ids[2].SID).Emit("x"))
	s.got(`2["x","`+offset(5)+`"]`, 2)
	emit(n.To("r").Volatile().Emit("x", 1))
	s.got(`2["x",1]`, 0, 1, 2)
	emit(n.To("r").Volatile().Emit("x", "text")) // which clients would take for their offset
	s.got(`2["x","text","`+offset(7)+`"]`, 0, 1, 2)
	emit(n.To("r").Local().Emit("x", 1))
	s.got(`2["x",1]`, 0)
	emit(n.To("r").Local().Emit("x", "text"))
	s.got(`2["x","text","`+offset(7)+`"]`, 0)
	if err := n.Emit("disconnect"); err == nil {
		t.Error("a reserved name was taken")
	}
	emit(s.nodes[1].Of("/chat").Emit("x"))
	s.got("") // nobody is in there

	emit(n.Emit("b", Binary("a"), map[string]any{"x": Binary("bc")}))
	s.settle()
	const hole = `{"_placeholder":true,"num":`
	for _, c := range s.clients {
		c.want(`52-["b",`+hole+`0},{"x":`+hole+`1}},"`+offset(9)+`"]`, "binary:a", "binary:bc")
	}
	// What only looks like a Binary is none.
	s.append(adapter.Message{Args: []byte(`"b",` + binaryMark + `YQ=="}`)}, "")
	s.got(`2["b",`+binaryMark+`YQ=="},"`+offset(10)+`"]`, 0, 1, 2)
	if !s.log[8].Binary || s.log[9].Binary || s.log[0].Binary || !s.log[5].Volatile || s.log[0].Volatile {
		t.Errorf("log is %+v", s.log)
	}
}

// Volatile and local broadcasts are not kept; all else is, in order.
func TestWhatIsKept(t *testing.T) {
	t.Parallel()
	s := newSpread(t, 2, nil)
	n := s.nodes[0].Of("/")
	s.clients[0].drop()
	s.nodes[0].away(t, s.ids[0])
	_ = n.To("r").Emit("x", 1)
	_ = n.To("r").Volatile().Emit("x", 2)
	s.settle()
	_ = n.To("r").Local().Emit("x", 3)
	_ = n.To("r").Emit("x", 4)
	s.settle()
	c, _, ok := s.nodes[0].comeBack(t, s.ids[0], at(0).String())
	if !ok {
		t.Fatal("not recovered")
	}
	c.want(`2["x",1,"`+at(1).String()+`"]`, `2["x",4,"`+at(3).String()+`"]`)
	c.wantNothing()
}

// What sockets are told to do has its place in the order of events.
func TestRoomsAndDisconnectionsAreInOrder(t *testing.T) {
	t.Parallel()
	s := newSpread(t, 3, nil)
	for _, x := range s.nodes {
		x.hold(true)
	}
	n := s.nodes[2].Of("/")
	_ = n.To("new").Emit("x", 1)
	_ = n.To("0", "1").Join("new")
	_ = n.To("new").Emit("x", 2)
	_ = n.To("r").Except("0").Leave("new", "unknown")
	_ = n.To("new").Emit("x", 3)
	_ = s.nodes[0].Of("/").To("1").Disconnect()
	_ = n.To("r").Emit("x", 4)
	for _, x := range s.nodes {
		x.hold(false)
	}
	s.settle()
	packet := func(n, p int) string { return fmt.Sprintf(`2["x",%d,"%s"]`, n, at(p)) }
	s.clients[0].want(packet(2, 3), packet(3, 5), packet(4, 7))
	s.clients[1].want(packet(2, 3), "1")
	s.clients[2].want(packet(4, 7))
	for _, c := range s.clients {
		c.wantNothing()
	}
	if got := strings.Join(sortedCopy(s.sockets[0].Rooms()), " "); got != "0 new r" {
		t.Errorf("the first is in %s", got)
	}

	_ = n.To("0").Local().Join("here") // nobody of it is here
	_ = n.To("2").Local().Join("here")
	if len(s.nodes[0].Of("/").To("here").Sockets()) > 0 || len(n.To("here").Sockets()) != 1 {
		t.Error("Local does not act on this server's sockets alone")
	}
}

// Close takes the sockets of the other namespaces along.
func TestTargetClose(t *testing.T) {
	t.Parallel()
	j := newJournal()
	s := newSpread(t, 2, func(s *Server) {
		for _, name := range []string{"/", "/chat"} {
			s.Of(name).OnDisconnect(func(_ *Socket, why Reason) { j.note(name + " " + string(why)) })
		}
	})
	c := s.clients[1]
	c.enter("/chat", "")
	_ = s.nodes[0].Of("/").To("1").Close()
	j.want(t, "/ server namespace disconnect", "/chat server namespace disconnect")
	c.wantClosed("1", "1/chat,")
	s.clients[0].wantNothing()
}

// Deliver waits for no handler.
func TestDeliverDoesNotWait(t *testing.T) {
	t.Parallel()
	block, entered := make(chan struct{}), make(chan struct{}, 2)
	s := newSpread(t, 1, func(s *Server) {
		s.Of("/").On("block", func(context.Context, *Socket, *Event) { entered <- struct{}{}; <-block })
		s.Of("/").OnDisconnect(func(*Socket, Reason) { entered <- struct{}{}; <-block })
	})
	defer close(block)
	s.clients[0].send(`2["block"]`)
	<-entered
	other := s.nodes[0].client(t)
	_ = s.nodes[0].Of("/").To("0").Join("a")
	_ = s.nodes[0].Of("/").To("0").Close()
	_ = s.nodes[0].Of("/").Emit("x")
	other.want(`2["x","` + at(3).String() + `"]`)
}

// Every entry of the log, whatever it is, is a position that a client may come back from, in every namespace.
func TestEveryPositionIsKnownEverywhere(t *testing.T) {
	t.Parallel()
	s, err := New(recovering)
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"/", "/chat", "/more"}
	for _, name := range names {
		s.Of(name)
	}
	var entries []adapter.Entry
	for i, m := range []adapter.Message{
		{Args: []byte(`"x"`)},
		{Namespace: "/", Args: []byte(`"x"`), Rooms: []string{"a"}},
		{Namespace: "/chat", Args: []byte(`"x"`)},
		{Namespace: "/unknown", Args: []byte(`"x"`)},
		{Kind: adapter.Join, Into: []string{"a"}},
		{Kind: adapter.Leave, Into: []string{"a"}, Namespace: "/more"},
		{Kind: adapter.Disconnect, Namespace: "/unknown"},
		{Kind: adapter.Other},
		{Kind: adapter.Other + 7},
		{Args: []byte(`"x"`), Volatile: true},
		{Args: []byte(`"x"`), Rooms: []string{}},
	} {
		entries = append(entries, adapter.Entry{Position: at(i + 1), Message: m})
	}
	s.Deliver(entries)
	missed := map[string]int{}
	for _, name := range names {
		n := s.Of(name)
		for i := range len(entries) + 1 {
			if !reachesBack(n, at(i)) {
				t.Errorf("%s: position %d is not known", name, i)
			}
		}
		if reachesBack(n, at(len(entries)+1)) {
			t.Errorf("%s: a position to come is known", name)
		}
		missed[name] = kept(n, "a")
	}
	want := map[string]int{"/": 2, "/chat": 1, "/more": 0}
	if fmt.Sprint(missed) != fmt.Sprint(want) {
		t.Errorf("kept %v, want %v", missed, want)
	}
}

// kept is the number of broadcasts that a member of the room would get from the beginning on.
func kept(n *Namespace, room string) (count int) {
	var seat adapter.Seat[*engineio.Message]
	n.rooms.Return(&seat, "probe", &Socket{}, []string{room}, at(0), func(missed []*engineio.Message) { count = len(missed) })
	n.rooms.Exit(&seat)
	return count
}

// All servers see one order, whoever emits.
func TestOneOrderOnAllServers(t *testing.T) {
	t.Parallel()
	const each = 100
	s := newSpread(t, 3, nil)
	var senders sync.WaitGroup
	for i, x := range s.nodes {
		senders.Go(func() {
			for k := range each {
				_ = x.Of("/").To("r").Emit("x", i*each+k)
			}
		})
	}
	var first []string
	for i, c := range s.clients {
		var got []string
		last := map[int]int{}
		for range each * len(s.nodes) {
			p := c.next()
			var data []json.RawMessage
			var number int
			if json.Unmarshal([]byte(p[1:]), &data) != nil || json.Unmarshal(data[1], &number) != nil {
				t.Fatalf("got %s", p)
			}
			if from := number / each; last[from] > number {
				t.Fatalf("server %d's %d comes after %d", from, number, last[from])
			} else {
				last[from] = number
			}
			got = append(got, p)
		}
		if i == 0 {
			first = got
		} else if !slices.Equal(got, first) {
			t.Errorf("client %d sees another order", i)
		}
	}
	senders.Wait()
}
