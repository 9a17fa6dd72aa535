package socketio

import (
	"github.com/photo-management/event-bus/adapter"
	"github.com/photo-management/event-bus/server/engineio"
)

// Deliver applies entries of the log to this server's own sockets, in order. It waits for no client and no handler.
// Positions are the log's, and every namespace takes note of all of them: an offset that a client was given
// is known wherever it returns. A server that is fed from a log is not to be emitted to otherwise, but through
// Options.Cluster, and by volatile and local broadcasts.
func (s *Server) Deliver(entries []adapter.Entry) {
	for _, n := range s.all() {
		n.deliver(entries)
	}
}

// nobody are the rooms of an entry that is not for the namespace's sockets.
var nobody = []string{}

func (n *Namespace) deliver(entries []adapter.Entry) {
	n.emit.Lock()
	defer n.emit.Unlock()
	// Enough at a time for merged writes, and much less than may wait for a client before it counts as slow.
	most := min(256<<10, n.srv.opts.Engine.MaxQueue/2)
	var batch []adapter.Broadcast[*engineio.Message]
	size := 0
	flush := func() {
		n.rooms.Apply(batch)
		batch, size = batch[:0], 0
	}
	for i := range entries {
		e := &entries[i]
		b := adapter.Broadcast[*engineio.Message]{Position: e.Position, Rooms: nobody, Volatile: true, At: e.At}
		switch {
		case e.Namespace != n.name && (e.Namespace != "" || n.name != "/"):
		case e.Kind == adapter.Event:
			b.Rooms, b.Except, b.Volatile, b.Frame = e.Rooms, e.Except, e.Volatile, n.frame(e)
			if size+b.Frame.Len() > most && len(batch) > 0 {
				flush()
			}
			size += b.Frame.Len()
		case e.Kind < adapter.Other:
			flush() // what came before is for those who were there before
			Target{ns: n, rooms: e.Rooms, except: e.Except}.act(&e.Message)
		}
		batch = append(batch, b)
	}
	flush()
}

// frame encodes an event of the log. What looks like a Binary in it is taken for one only if it is said to be.
func (n *Namespace) frame(e *adapter.Entry) *engineio.Message {
	offset := n.offset(e.Position)
	if e.Volatile && !endsWithText(e.Args) {
		offset = nil
	}
	var m *engineio.Message
	if e.Binary {
		m = n.message(packet{kind: typeEvent}, append([]byte{'['}, e.Args...), offset)
	} else { // without a copy of the arguments
		head := appendPacket(make([]byte, 0, 64), packet{kind: typeEvent, namespace: n.name})
		m = engineio.NewMessage(append(head, '['), e.Args, offset, closing)
	}
	m.Volatile = e.Volatile
	return m
}

// endsWithText reports whether the last of an event's arguments is text. Its client would take that for its offset.
func endsWithText(args []byte) bool { return len(args) > 0 && args[len(args)-1] == '"' }

// Reset begins anew: the log goes on after start, and what was before is not all known here. All sessions are
// forgotten and all connections closed, so that clients learn of the gap: none that is here now comes back recovered.
func (s *Server) Reset(start adapter.Position) {
	for _, n := range s.all() {
		n.reset(start)
	}
}

// reset takes all sockets out in one step with the rooms' new beginning: who is in after it has come after it, and
// nobody is told an offset beyond the gap who was here before.
func (n *Namespace) reset(start adapter.Position) {
	n.emit.Lock()
	sockets, pids := n.sessions.reset(n.rooms, start)
	n.emit.Unlock()
	for _, s := range sockets {
		s.client.conn.Close()
	}
	if n.srv.opts.Sessions != nil {
		for _, pid := range pids {
			n.srv.opts.Sessions.Release(pid) // other servers may know all that it needs
		}
	}
}
