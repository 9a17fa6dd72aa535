package adapter

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// Records is a stream of records for whoever wants to read them, such as those of an audit: JSON in the field "record".
// The oldest go first when there are too many.
type Records struct {
	store  *Store
	key    string
	maxLen int64
}

// Records gives a stream kept beside a log, of about so many records.
func (s *Store) Records(name string, maxLen int64) *Records { return &Records{s, s.Key(name), maxLen} }

// Append adds all records, or none of them if there is an error; after a lost connection nobody knows.
func (r *Records) Append(ctx context.Context, records [][]byte) error {
	_, err := r.store.db.client.TxPipelined(ctx, func(tx redis.Pipeliner) error {
		for _, record := range records {
			tx.XAdd(ctx, &redis.XAddArgs{Stream: r.key, MaxLen: r.maxLen, Approx: true, Values: []any{"record", record}})
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("add to %s: %w", r.key, r.store.db.explain(err))
	}
	return nil
}
