package adapter

import "github.com/redis/go-redis/v9"

// feedScript is what the scripts that append records begin with. They take, after arguments of their own, the last of
// which is the way events are sent (h is its place): for each of n records its key and the number of its messages, then,
// if events are sent at all, for each record its event, or with feedAsk '1' if it has one, else an empty text. The keys of records
// come after k others, and are followed by that of the feed.
//
// hasFeed reports whether there is a feed, and with feedAsk an error if it should get one of the events. The script may
// not have written anything before.
const feedScript = `
local function hasFeed(n, k, h)
	if redis.call('TYPE', KEYS[k + n + 1]).ok ~= 'stream' then
		return false
	end
	for r = 1, ARGV[h] == 'ask' and n or 0 do
		if ARGV[h + 2 * n + r] ~= '' and (ARGV[h + 2 * r - 1] == '' or redis.call('EXISTS', KEYS[k + r]) == 0) then
			return true, redis.error_reply('FEED the events are wanted')
		end
	end
	return true
end
`

// The ways in which the events of records are sent to Redis. Most channels have no feed most of the time: so they are
// left out until a script says that there is one.
const (
	feedNone = ""     // no record has one
	feedAsk  = "ask"  // whether there is one, in case there is a feed by now
	feedSend = "send" // the events
)

// feedWay says how to send the events of some records of a channel.
func (s *Store) feedWay(channel string, records []Record) string {
	if channel == "" {
		return feedNone
	}
	for _, r := range records {
		if len(r.Event) > 0 {
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.feeds[channel] {
				return feedSend
			}
			return feedAsk
		}
	}
	return feedNone
}

// feedArgs appends what feedScript wants to know of the records' events.
func feedArgs(args []any, way string, records []Record) []any {
	for _, r := range records {
		switch {
		case len(r.Event) == 0:
			args = append(args, "")
		case way == feedAsk:
			args = append(args, "1")
		default:
			args = append(args, r.Event)
		}
	}
	return args
}

// noteFeed remembers whether a channel has a feed.
func (s *Store) noteFeed(channel string, yes bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if yes {
		s.feeds[channel] = true
	} else {
		delete(s.feeds, channel)
	}
}

// isOurs reports whether an error is what one of the scripts that append answers, and not trouble with Redis.
func isOurs(err error) bool {
	return redis.HasErrorPrefix(err, "DEPOSED") || redis.HasErrorPrefix(err, "FEED")
}

// append runs a script that appends records, a second time if it wants their events, and says which were new.
func (s *Store) append(channel string, records []Record, run func(way string) ([]int64, error)) ([]bool, error) {
	way := s.feedWay(channel, records)
	answer, err := run(way)
	if redis.HasErrorPrefix(err, "FEED") {
		answer, err = run(feedSend)
	}
	switch {
	case redis.HasErrorPrefix(err, "DEPOSED"):
		return nil, ErrDeposed
	case err != nil:
		return nil, err
	}
	fresh := make([]bool, len(records))
	for i := range fresh {
		fresh[i] = answer[i] == 1
	}
	if way != feedNone {
		s.noteFeed(channel, answer[len(records)] == 1)
	}
	return fresh, nil
}

func (s *Store) feedKey(channel string) string { return s.prefix + "feed:" + channel }
