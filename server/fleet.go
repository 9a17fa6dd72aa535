package server

import (
	"context"

	"github.com/photo-management/event-bus/adapter"
)

// fleet is how the sockets of all replicas are one: what has its place in the order of things goes through the log,
// questions go to the others directly.
type fleet struct {
	eventLog
	peers
}

// Publish puts a message into the log.
func (f fleet) Publish(ctx context.Context, m adapter.Message) error {
	_, err := f.Append(ctx, adapter.Lease{}, []adapter.Record{{Messages: []adapter.Message{m}}})
	return err
}
