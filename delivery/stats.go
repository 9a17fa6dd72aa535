package delivery

import (
	"cmp"
	"slices"
	"time"
)

// Stats are one subscription's, as the seed has them (7.1), and how it stands. They are of this process, since it began
// to run, and the subscription is in it.
type Stats struct {
	ID            string    `json:"id"`
	Channel       string    `json:"channel"`
	CreatedAt     time.Time `json:"createdAt"`
	LastMessageAt time.Time `json:"lastMessageAt,omitzero"`
	MessageCount  int64     `json:"messageCount"` // events handled
	ErrorCount    int64     `json:"errorCount"`   // attempts that failed
	// Running says whether it runs here. What follows is known only then.
	Running  bool   `json:"running"`
	Pending  int64  `json:"pending"`  // events taken from the feed and not finished
	Lag      int64  `json:"lag"`      // events in the feed that it has not taken; some seconds old, 0 for temporary ones
	Retrying int64  `json:"retrying"` // of those pending, how many wait to be tried again
	Breaker  string `json:"breaker,omitempty"`
}

// Totals are those of all subscriptions declared here, as the seed's SubscriptionStats.
type Totals struct {
	TotalSubscriptions  int              `json:"totalSubscriptions"`
	ChannelCounts       map[string]int   `json:"channelCounts"`
	ErrorCounts         map[string]int64 `json:"errorCounts"` // by channel, without those that have none
	OldestSubscription  string           `json:"oldestSubscription,omitempty"`
	AverageMessageCount float64          `json:"averageMessageCount"`
	Subscriptions       []Stats          `json:"subscriptions"` // by id
}

// Stats are those of all subscriptions declared here.
func (s *Subscribers) Stats() Totals {
	subs, _ := s.wanted(func(*subscription) bool { return true })
	t := Totals{
		TotalSubscriptions: len(subs), ChannelCounts: map[string]int{}, ErrorCounts: map[string]int64{},
		Subscriptions: make([]Stats, 0, len(subs)),
	}
	var messages int64
	var oldest time.Time
	for _, sub := range subs {
		st := sub.stats()
		t.Subscriptions = append(t.Subscriptions, st)
		t.ChannelCounts[st.Channel]++
		if st.ErrorCount > 0 {
			t.ErrorCounts[st.Channel] += st.ErrorCount
		}
		messages += st.MessageCount
		if oldest.IsZero() || st.CreatedAt.Before(oldest) {
			oldest, t.OldestSubscription = st.CreatedAt, st.ID
		}
	}
	if len(subs) > 0 {
		t.AverageMessageCount = float64(messages) / float64(len(subs))
	}
	slices.SortFunc(t.Subscriptions, func(a, b Stats) int { return cmp.Compare(a.ID, b.ID) })
	return t
}

func (s *subscription) stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Stats{
		ID: s.name, Channel: s.channel, CreatedAt: s.created, LastMessageAt: s.last,
		MessageCount: s.messages, ErrorCount: s.errors, Running: s.consumer != nil,
	}
	if s.consumer != nil {
		st.Pending, st.Retrying, st.Lag = int64(s.consumer.Held()), int64(s.consumer.Retrying()), s.lag
		st.Breaker = s.breaker.State()
	}
	return st
}

// attempted counts an attempt, and reports whether it was the failure that is one too many.
func (s *subscription) attempted(a Attempt) (tooMany bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a.Err == nil {
		s.messages++
		s.last = time.Now()
		return false
	}
	s.errors++
	return s.maxErrors > 0 && s.errors-s.forgiven >= int64(s.maxErrors)
}

// runs notes what runs it, nil for nothing.
func (s *subscription) runs(c *Consumer, b *Breaker) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.consumer, s.breaker, s.lag, s.excess = c, b, 0, 0
}

// inherit goes on with the figures of the form before. Errors count anew towards MaxErrors.
func (s *subscription) inherit(old *subscription) {
	old.mu.Lock()
	defer old.mu.Unlock()
	s.created, s.last, s.messages, s.errors, s.forgiven = old.created, old.last, old.messages, old.errors, old.errors
}

// seen learns how its group is. More pending than held, again and again, are entries that a leader before us got when it
// led no longer: they are looked for.
func (s *subscription) seen(pending, lag int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lag = lag
	if s.consumer == nil || pending <= int64(s.consumer.Held()) {
		s.excess = 0
		return
	}
	if s.excess++; s.excess >= looks {
		s.excess = 0
		s.consumer.Recheck()
	}
}
