package adapter

import (
	"cmp"
	"math"
	"sync"
	"sync/atomic"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
)

// Store is what replicas share in Redis beside the log, in keys of the log's slot: feeds, dead letters, tables, counts.
// It needs no log to be written, so that a PubSub has one as well as a Log.
type Store struct {
	db     *Redis
	prefix string // of every key

	mu    sync.Mutex
	feeds map[string]bool // channels that had a feed when something was appended last

	malformed atomic.Uint64
	dead      atomic.Pointer[DeadLettersConfig] // bounds of the dead letters, nil until they are given
}

// Store gives what belongs to a log, by the key of its stream. Zero means "socket.io".
func (r *Redis) Store(stream string) *Store {
	stream = cmp.Or(stream, "socket.io")
	return &Store{
		db: r, prefix: r.cfg.KeyPrefix + "{" + cmp.Or(hashTag(stream), stream) + "}:", feeds: map[string]bool{},
	}
}

// NewStore gives it to a process that has a client of its own and is no server of ours; the client stays the caller's. keyPrefix
// and stream are those of the servers, as redis.keyPrefix and log.stream. A read waits on a connection of the client for
// a second, whatever becomes of its context. What bounds the dead letters is the servers' to know, and to do.
func NewStore(client redis.UniversalClient, keyPrefix, stream string) *Store {
	r := &Redis{cfg: RedisConfig{KeyPrefix: keyPrefix}, client: client, log: zap.NewNop()}
	s := r.Store(stream)
	s.DeadLetters(DeadLettersConfig{MaxLen: math.MaxInt64, Retention: math.MaxInt64})
	return s
}

// Key names a key of ours that shares the log's slot in a Redis Cluster, so that one script can use both.
func (s *Store) Key(rest string) string { return s.prefix + rest }

// digestKey names a key by something that may be long, or others' choice.
func (s *Store) digestKey(kind, of string) string { return s.prefix + kind + ":" + digest(of, 16) }

// cut is the beginning of a text, of so many bytes at most.
func cut(text string, n int) string {
	if len(text) <= n {
		return text
	}
	for n > 0 && text[n]&0xC0 == 0x80 { // not within a character
		n--
	}
	return text[:n]
}
