package adapter

import (
	"context"
	"sync"
	"time"
)

// MemoryConfig configures Memory.
type MemoryConfig struct {
	// Dedupe is for how long an id counts as already appended. Zero means 24 h.
	Dedupe time.Duration
	// MaxIDs bounds the ids remembered; over it the oldest is forgotten early. Zero means 200,000.
	MaxIDs int
	// MaxPending is how many entries may wait for the tail before Append waits. Zero means 65,536.
	MaxPending int
}

// Memory is the log of one process: what is appended, once for each id, reaches the tail in order.
type Memory struct {
	cfg   MemoryConfig
	start Position

	mu      sync.Mutex
	last    Position
	pending []Entry
	ids     map[string]struct{}
	order   []seen        // oldest first
	more    chan struct{} // there is something pending
	room    chan struct{} // there is room again
}

type seen struct {
	id string
	at time.Time
}

// NewMemory makes an empty log.
func NewMemory(cfg MemoryConfig) *Memory {
	if cfg.Dedupe == 0 {
		cfg.Dedupe = 24 * time.Hour
	}
	if cfg.MaxIDs == 0 {
		cfg.MaxIDs = 200_000
	}
	if cfg.MaxPending == 0 {
		cfg.MaxPending = 1 << 16
	}
	start := Position{}.Next(time.Now())
	return &Memory{
		cfg:   cfg,
		start: start,
		last:  start,
		ids:   map[string]struct{}{},
		more:  make(chan struct{}, 1),
		room:  make(chan struct{}, 1),
	}
}

// Start is the position before the first entry.
func (m *Memory) Start() Position { return m.start }

// Append puts messages into the log together, unless id was appended before: then it reports false. While too
// much waits for the tail, it waits too.
func (m *Memory) Append(ctx context.Context, id string, messages ...Message) (bool, error) {
	m.mu.Lock()
	for len(m.pending) >= m.cfg.MaxPending {
		m.mu.Unlock()
		select {
		case <-m.room:
		case <-ctx.Done():
			return false, ctx.Err()
		}
		m.mu.Lock()
	}
	defer m.mu.Unlock()
	defer func() {
		if len(m.pending) < m.cfg.MaxPending {
			signal(m.room) // one was woken; there is room for the next who waits
		}
	}()
	now := time.Now()
	if !m.freshLocked(id, now) {
		return false, nil
	}
	for _, msg := range messages {
		m.last = m.last.Next(now)
		m.pending = append(m.pending, Entry{Position: m.last, Message: msg, Key: id})
	}
	if len(messages) > 0 {
		signal(m.more)
	}
	return true, nil
}

// Appended reports whether id was appended before.
func (m *Memory) Appended(_ context.Context, id string) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.expireLocked(time.Now())
	_, known := m.ids[id]
	return known, nil
}

// freshLocked remembers id, and reports whether it was not known.
func (m *Memory) freshLocked(id string, now time.Time) bool {
	m.expireLocked(now)
	if _, known := m.ids[id]; known {
		return false
	}
	if len(m.order) >= m.cfg.MaxIDs {
		m.forgetLocked()
	}
	m.ids[id] = struct{}{}
	m.order = append(m.order, seen{id, now})
	return true
}

func (m *Memory) expireLocked(now time.Time) {
	for len(m.order) > 0 && now.Sub(m.order[0].at) > m.cfg.Dedupe {
		m.forgetLocked()
	}
}

func (m *Memory) forgetLocked() {
	delete(m.ids, m.order[0].id)
	m.order[0] = seen{}
	m.order = m.order[1:]
}

// Tail calls apply with what was appended, in order, as much as there is at a time, until ctx ends. There is one
// tail.
func (m *Memory) Tail(ctx context.Context, apply func([]Entry)) error {
	for {
		select {
		case <-m.more:
		case <-ctx.Done():
			return nil
		}
		m.mu.Lock()
		batch := m.pending
		m.pending = nil
		m.mu.Unlock()
		signal(m.room)
		if len(batch) > 0 {
			apply(batch)
		}
	}
}

// signal wakes whoever waits on c, or will.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
