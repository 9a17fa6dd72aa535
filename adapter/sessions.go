package adapter

import (
	"cmp"
	"container/list"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/zap"
)

const (
	// maxSession is the most bytes a session may have in Redis.
	maxSession = 64 << 10
	// maxPID is the most bytes of a pid; Node's and ours have 20.
	maxPID = 64
	// renewMargin is how late a renewal may be.
	renewMargin = 10 * time.Second
)

var (
	// ErrTaken says that a session is another server's now.
	ErrTaken = errors.New("session was taken over by another server")

	errNoSession       = errors.New("no session to store")
	errSessionID       = errors.New("not the id of a session")
	errSessionSize     = fmt.Errorf("session has more than %d bytes", maxSession)
	errSessionsStopped = errors.New("sessions: not running any more")
)

// SessionsConfig says whose sessions are kept, where, and for how long.
type SessionsConfig struct {
	// ID is this server's own, as in the log. A new one with each start is best, of printable ASCII.
	ID string
	// Prefix starts the keys of sessions, like sessionKeyPrefix of Node's adapter. Zero means "sio:session:".
	Prefix string
	// KeyPrefix starts our own keys and channels, see RedisConfig. Zero means "eventbus:".
	KeyPrefix string
	// Window is how long a client may be away. Zero means 2 minutes.
	Window time.Duration
	// Renew is how often the expiry of all our sessions is renewed. Zero means half of Window.
	Renew time.Duration
}

func (c SessionsConfig) withDefaults() SessionsConfig {
	c.Prefix = cmp.Or(c.Prefix, "sio:session:")
	c.KeyPrefix = cmp.Or(c.KeyPrefix, "eventbus:")
	c.Window = cmp.Or(c.Window, 2*time.Minute)
	c.Renew = cmp.Or(c.Renew, c.Window/2)
	return c
}

// Validate reports all problems at once.
func (c SessionsConfig) Validate() error {
	c = c.withDefaults()
	var errs []error
	if c.ID == "" || len(c.ID) > maxPID || !printable(c.ID) {
		errs = append(errs, fmt.Errorf("sessions: server id %q: must be 1 to %d printable ASCII characters", c.ID, maxPID))
	}
	if strings.ContainsAny(c.Prefix, "{}") {
		errs = append(errs, fmt.Errorf("sessions: prefix %q: must have no braces", c.Prefix))
	}
	if c.Window < time.Millisecond {
		errs = append(errs, fmt.Errorf("sessions: window %s: must be 1ms or more", c.Window))
	}
	if c.Renew < time.Millisecond {
		errs = append(errs, fmt.Errorf("sessions: renew %s: must be 1ms or more", c.Renew))
	}
	return errors.Join(errs...)
}

// lifetime is what a session is given from now: until is when it ends, zero while its client is here.
func (c SessionsConfig) lifetime(until, now time.Time) time.Duration {
	if until.IsZero() {
		return c.Window + c.Renew + renewMargin
	}
	return until.Sub(now)
}

// Sessions keeps in Redis what a returning client gets back, so that any server can give it, whatever became of the
// one that the client was on. A session is there for as long as its client is connected and Window longer, in the
// format of @socket.io/redis-streams-adapter: Node servers can restore ours, and we theirs.
//
// It has two keys, both with the same expiry: <Prefix><pid> is Node's, and <KeyPrefix>owner-of:{<Prefix><pid>} says
// whose it is and what was stored, as <id>:<SHA-1 of the value>. So it shows when Node took a session, which deletes
// the first key, and when Node left it there again, with what we know nothing of. The braces put both into one slot of
// a cluster, if KeyPrefix has none.
//
// All goes through the goroutine of Run, which asks for everything that waits in one pipeline, and then for what has
// come meanwhile. So nothing about one session happens here at the same time as anything else about it.
//
// All methods are safe for concurrent use. Changed, Release and Drop never wait.
type Sessions struct {
	cfg    SessionsConfig
	client redis.UniversalClient
	log    *zap.Logger
	encode func(StoredSession) (string, error)
	decode func(string) (StoredSession, error)

	// The listening connection is sent a PING every idle, and given up when it is silent for idle and answer together.
	idle, answer time.Duration

	wake    chan struct{} // holds one when there is something for Run to do
	refused atomic.Uint64

	mu      sync.Mutex
	ours    map[string]ourSession
	pending map[string]*list.Element // of queue, by pid
	queue   *list.List               // of *sessionChange, oldest first, one for each pid
	checks  map[string]struct{}      // pids of ours to be renewed
	asks    []*sessionAsk
	trouble error // what keeps us from Redis, or nil
	started bool
	stopped bool
}

// ourSession is what is known here of a session of ours.
type ourSession struct {
	until  time.Time // when it ends; zero while its client is here
	stored bool      // it is in Redis, or on its way there
}

// NewSessions keeps sessions in the Redis of client. The configuration is taken as valid.
func NewSessions(client redis.UniversalClient, cfg SessionsConfig, log *zap.Logger) *Sessions {
	return &Sessions{
		cfg: cfg.withDefaults(), client: client, log: log,
		encode: encodeSession, decode: decodeSession,
		idle: 10 * time.Second, answer: 5 * time.Second,
		wake: make(chan struct{}, 1),
		ours: map[string]ourSession{}, pending: map[string]*list.Element{}, queue: list.New(), checks: map[string]struct{}{},
	}
}

// Refused counts the sessions in Redis that were not given out as they are too large or make no sense, and ours that
// were not stored for the same reasons.
func (s *Sessions) Refused() uint64 { return s.refused.Load() }

// Len is how many sessions are ours.
func (s *Sessions) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.ours)
}

// Waiting is how many sessions have changed and are not stored yet.
func (s *Sessions) Waiting() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.pending)
}

// keys are those of a session: its value and its owner.
func (s *Sessions) keys(pid string) []string {
	value := s.cfg.Prefix + pid
	return []string{value, s.cfg.KeyPrefix + "owner-of:{" + value + "}"}
}

// takenChannel is where a server hears which of its sessions another one has taken; its id comes after this.
func (s *Sessions) takenChannel() string { return s.cfg.KeyPrefix + "taken:" }

// validPID is what may become part of a key. It comes from clients.
func validPID(pid string) bool {
	return pid != "" && len(pid) <= maxPID && printable(pid) && !strings.ContainsAny(pid, "{}")
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
