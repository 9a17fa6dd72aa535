package socketio

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

	"github.com/photo-management/event-bus/adapter"
)

// network is some servers in one process that share a log and a store of sessions.
type network struct {
	t     testing.TB
	vault *vault
	nodes []*node

	mu   sync.Mutex
	more *sync.Cond
	log  []adapter.Entry
	done bool
}

// node is one of the servers: its Cluster, and its goroutine that delivers.
type node struct {
	*testServer
	net   *network
	id    string
	store *fakeStore

	// Guarded by the network's mu.
	read int  // entries delivered, or under way
	held bool // nothing more is to be delivered
	deaf bool // it hears no requests
}

// join starts n servers.
func join(t testing.TB, n int, register func(*Server)) *network {
	net := &network{t: t, vault: &vault{sessions: map[string]*stored{}}}
	net.more = sync.NewCond(&net.mu)
	for i := range n {
		x := &node{net: net, id: fmt.Sprintf("%016x", i+1)}
		x.store = &fakeStore{vault: net.vault, node: x}
		net.vault.stores = append(net.vault.stores, x.store)
		opts := recovering
		opts.Cluster, opts.Sessions, opts.ID = x, x.store, x.id
		x.testServer = serve(t, opts, register)
		net.nodes = append(net.nodes, x)
	}
	var tails sync.WaitGroup
	for _, x := range net.nodes {
		tails.Go(x.tail)
	}
	t.Cleanup(func() {
		net.mu.Lock()
		net.done = true
		net.more.Broadcast()
		net.mu.Unlock()
		tails.Wait()
	})
	return net
}

func (net *network) append(m adapter.Message, from string) {
	net.mu.Lock()
	defer net.mu.Unlock()
	net.log = append(net.log, adapter.Entry{Position: at(len(net.log) + 1), Message: m, From: from})
	net.more.Broadcast()
}

// broadcast appends event n, whose argument is n, to a room. It is the n-th entry.
func (net *network) broadcast(n int, room string) {
	net.append(adapter.Message{Rooms: []string{room}, Args: fmt.Appendf(nil, `"n",%d`, n)}, "")
}

// settle waits until all servers that are not held have all there is.
func (net *network) settle() {
	net.t.Helper()
	for _, x := range net.nodes {
		eventually(net.t, "the log to be delivered", func() bool {
			net.mu.Lock()
			last, held := at(len(net.log)), x.held
			net.mu.Unlock()
			return held || x.Of("/").rooms.Position() == last
		})
	}
}

func (x *node) tail() {
	x.net.mu.Lock()
	defer x.net.mu.Unlock()
	for {
		for !x.net.done && (x.held || x.read == len(x.net.log)) {
			x.net.more.Wait()
		}
		if x.net.done {
			return
		}
		batch := slices.Clone(x.net.log[x.read:])
		x.read = len(x.net.log)
		x.net.mu.Unlock()
		x.Deliver(batch)
		x.net.mu.Lock()
	}
}

func (x *node) hold(on bool) {
	x.net.mu.Lock()
	defer x.net.mu.Unlock()
	x.held = on
	x.net.more.Broadcast()
}

func (x *node) Publish(ctx context.Context, m adapter.Message) error {
	if _, ok := ctx.Deadline(); !ok {
		x.net.t.Error("Publish without a time limit")
	}
	x.net.append(m, x.id)
	return nil
}

func (x *node) Request(ctx context.Context, r adapter.Request, each func(adapter.Response)) error {
	if r.From != x.id || r.Namespace == "" {
		x.net.t.Errorf("request %+v, want it to say where it is from", r)
	}
	answers := make(chan adapter.Response, 1000)
	left := map[string]int{} // answers that each server owes
	for _, other := range x.net.nodes {
		if other == x {
			continue
		}
		if r.ID != "" {
			left[other.id] = 1
		}
		other.net.mu.Lock()
		deaf := other.deaf
		other.net.mu.Unlock()
		if !deaf {
			other.Serve(r, func(a adapter.Response) {
				if a.ID != r.ID || a.From != other.id || a.Kind != r.Kind || a.Namespace != r.Namespace {
					x.net.t.Errorf("response %+v to request %+v", a, r)
				}
				answers <- a
			})
		}
	}
	for len(left) > 0 {
		select {
		case a := <-answers:
			left[a.From]--
			if r.Kind == adapter.EmitWithAck && a.Count >= 0 {
				left[a.From] += a.Count
			}
			if left[a.From] == 0 {
				delete(left, a.From)
			}
			each(a)
		case <-ctx.Done():
			missing := make([]string, 0, len(left))
			for id := range left {
				missing = append(missing, id)
			}
			slices.Sort(missing)
			return &adapter.PartialError{Missing: missing}
		}
	}
	return nil
}

// vault is what the stores of all servers share. Its lock is held over all that a store does, so ownership and what
// servers are told of it are of one mind.
type vault struct {
	mu       sync.Mutex
	sessions map[string]*stored
	stores   []*fakeStore
}

type stored struct {
	adapter.StoredSession
	owner string
}

var errAway = errors.New("store is away")

// fakeStore is a server's way to the vault.
type fakeStore struct {
	*vault
	node   *node
	calls  []string                               // noted under mu: what it was told
	down   bool                                   // under mu: everything fails, nothing is written
	late   bool                                   // under mu: Taken is told when deaf ends only
	untold []string                               // under mu: pids that Taken is to be told of
	before func(context.Context, string) error    // if not nil, comes before Save, without the lock
	taken  func(ctx context.Context, from string) // if not nil, comes at the end of Take, without the lock
}

func (f *fakeStore) note(call, pid string) { f.calls = append(f.calls, call+" "+pid) }

func (f *fakeStore) writeLocked(pid string) error {
	if f.down {
		return errAway
	}
	if was := f.sessions[pid]; was != nil && was.owner != f.node.id {
		return adapter.ErrTaken
	}
	if s, ok := f.node.Session(pid); ok {
		f.sessions[pid] = &stored{s, f.node.id}
	}
	return nil
}

func (f *fakeStore) Save(ctx context.Context, pid string) error {
	if f.before != nil {
		if err := f.before(ctx, pid); err != nil {
			return err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.note("save", pid)
	return f.writeLocked(pid)
}

func (f *fakeStore) Changed(pid string) { f.tell("changed", pid) }
func (f *fakeStore) Release(pid string) { f.tell("release", pid) }

func (f *fakeStore) tell(call, pid string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.note(call, pid)
	_ = f.writeLocked(pid)
}

func (f *fakeStore) Drop(pid string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.note("drop", pid)
	if was := f.sessions[pid]; !f.down && was != nil && was.owner == f.node.id {
		delete(f.sessions, pid)
	}
}

func (f *fakeStore) Look(_ context.Context, pid string) (adapter.StoredSession, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.note("look", pid)
	if f.down {
		return adapter.StoredSession{}, false, errAway
	}
	if s := f.sessions[pid]; s != nil {
		return s.StoredSession, true, nil
	}
	return adapter.StoredSession{}, false, nil
}

func (f *fakeStore) Take(ctx context.Context, pid string) (adapter.StoredSession, string, bool, error) {
	s, from, ok, err := f.takeIt(pid)
	if f.taken != nil {
		f.taken(ctx, from)
	}
	return s, from, ok, err
}

func (f *fakeStore) takeIt(pid string) (adapter.StoredSession, string, bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.note("take", pid)
	if f.down {
		return adapter.StoredSession{}, "", false, errAway
	}
	was := f.sessions[pid]
	if was == nil {
		return adapter.StoredSession{}, "", false, nil
	}
	f.untold = slices.DeleteFunc(f.untold, func(p string) bool { return p == pid })
	from := was.owner
	was.owner = f.node.id
	for _, other := range f.stores {
		switch {
		case other == f || other.node.id != from:
		case other.late:
			other.untold = append(other.untold, pid)
		default:
			other.node.Taken(pid)
		}
	}
	return was.StoredSession, from, true, nil
}

// catchUp tells of what was taken while late.
func (f *fakeStore) catchUp() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.late = false
	for _, pid := range f.untold {
		f.node.Taken(pid)
	}
	f.untold = nil
}

func (f *fakeStore) setDown(on bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down = on
}

// told is what the store was told of a session so far, and forgets it.
func (f *fakeStore) told(pid string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []string
	for _, call := range f.calls {
		if name, ok := strings.CutSuffix(call, " "+pid); ok {
			out = append(out, name)
		}
	}
	f.calls = nil
	return strings.Join(out, " ")
}

// rooms are those stored for a session, sorted, with the owner.
func (v *vault) rooms(pid string) string {
	v.mu.Lock()
	defer v.mu.Unlock()
	s := v.sessions[pid]
	if s == nil {
		return "none"
	}
	rooms := without(s.Rooms, []string{s.ID})
	slices.Sort(rooms)
	return strings.Join(rooms, " ") + " of " + strings.TrimLeft(s.owner, "0")
}

// short is a context that ends soon, for what is expected to be incomplete.
func short(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}

func long(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	t.Cleanup(cancel)
	return ctx
}

func texts(raw []json.RawMessage) string {
	out := make([]string, len(raw))
	for i, r := range raw {
		out[i] = string(r)
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func TestClusterNeedsAnID(t *testing.T) {
	t.Parallel()
	for id, ok := range map[string]bool{"": false, "x": false, "0123456789ABCDEF": false, "0123456789abcdef": true} {
		for _, opts := range []Options{{Cluster: &node{}, ID: id}, {Sessions: &fakeStore{}, ID: id}} {
			if err := opts.Validate(); (err == nil) != ok {
				t.Errorf("id %q: %v", id, err)
			}
		}
	}
	if err := (Options{}).Validate(); err != nil {
		t.Errorf("a server alone needs no id: %v", err)
	}
}
