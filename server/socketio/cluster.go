package socketio

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/photo-management/event-bus/adapter"
)

// cluster is the way to the other servers.
type cluster interface {
	// Publish puts m into the log. It comes back to every server, this one too, through Server.Deliver, in one order.
	Publish(ctx context.Context, m adapter.Message) error
	// Request asks all other servers. It calls each, one at a time, for every response, and never once it has
	// returned: nil when all have answered completely, an *adapter.PartialError if ctx ended before.
	Request(ctx context.Context, r adapter.Request, each func(adapter.Response)) error
}

// publishTimeout bounds Publish for methods that have no context.
const publishTimeout = 5 * time.Second

// publish puts m into the log. It goes by no context of a handler's: what a handler has to say while the server stops
// is worth hearing.
func (n *Namespace) publish(m adapter.Message) error {
	ctx, cancel := context.WithTimeout(context.Background(), publishTimeout)
	defer cancel()
	m.Namespace = n.name
	if err := n.srv.opts.Cluster.Publish(ctx, m); err != nil {
		return fmt.Errorf("publish to %s: %w", n.name, err)
	}
	return nil
}

// request asks the other servers. Without a Cluster there are none.
func (n *Namespace) request(ctx context.Context, r adapter.Request, each func(adapter.Response)) error {
	if n.srv.opts.Cluster == nil {
		return nil
	}
	r.Namespace, r.From = n.name, n.srv.opts.ID
	return n.srv.opts.Cluster.Request(ctx, r, each)
}

// newRequestID is like the ids of Node's requests.
func newRequestID() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails, says crypto/rand
	return hex.EncodeToString(b[:])
}
