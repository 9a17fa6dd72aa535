package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"strings"
	"text/tabwriter"

	"go.uber.org/zap"

	"github.com/photo-management/event-bus/adapter"
	"github.com/photo-management/event-bus/delivery"
)

const dlqUsage = `Usage: eventbus dlq ACTION [FLAGS] [ID…]

Shows events that could not be delivered, or were refused, and has them delivered again.

Actions:
  list      list them, oldest first: -channel, -subscription and -reason choose, -json prints whole letters
  show ID   print one, with its event
  replay    have those of the IDs, or with -all those chosen, delivered again: each to the subscription that did not take it, or, if it was
            refused before it came on the bus, to everybody. With -browsers it goes to all browsers and subscriptions once more
  purge     delete those of the IDs, or with -all those chosen

`

// dlq is the command for dead letters.
type dlq struct {
	redis       adapter.RedisConfig
	stream      string
	inputPrefix string
	which       adapter.DeadLetterQuery
	all         bool
	browsers    bool
	json        bool
	ids         []string

	letters *adapter.DeadLetters
	replay  delivery.Replayer
}

func deadLetters(ctx context.Context, args []string, std stdio) error {
	action := ""
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		action, args = args[0], args[1:]
	}
	var d dlq
	actions := map[string]func(context.Context, stdio) error{"list": d.list, "show": d.show, "replay": d.replayThem, "purge": d.purge}
	fs := newFlags("dlq", "", std)
	fs.Usage = func() {
		fmt.Fprint(std.out, dlqUsage+"Flags:\n")
		fs.SetOutput(std.out)
		fs.PrintDefaults()
	}
	redisFlags(fs, &d.redis)
	fs.StringVar(&d.stream, "log-stream", "socket.io", "key of the log's stream, as the service has it")
	fs.StringVar(&d.inputPrefix, "input-prefix", "", "what the keys of the durable input streams begin with; by default REDIS_KEY_PREFIX and in:")
	args, d.ids = splitIDs(args)
	if err := parseFlags(fs, args, func() { d.flags(fs) }); err != nil {
		return err
	}
	do, ok := actions[action]
	if !ok {
		return usageError{fmt.Errorf("want an action: list, show, replay or purge; eventbus dlq --help tells more")}
	}
	if err := d.check(action); err != nil {
		return usageError{err}
	}
	adapter.QuietRedis(zap.NewNop())
	redis, err := (&publishing{redis: d.redis}).dial(ctx)
	if err != nil {
		return err
	}
	defer redis.Close()
	store := redis.Store(d.stream)
	// Only the service adds letters: the bounds are its own.
	d.letters = store.DeadLetters(adapter.DeadLettersConfig{})
	prefix := d.inputPrefix
	if prefix == "" {
		prefix = redis.KeyPrefix() + "in:"
	}
	d.replay = delivery.Replayer{Store: store, Letters: d.letters, Inputs: redis, Prefix: prefix}
	return do(ctx, std)
}

// splitIDs takes the ids of letters, digits with a dash between, from among the flags; that of -after is the flag's.
func splitIDs(args []string) (flags, ids []string) {
	for i, arg := range args {
		_, err := adapter.ParsePosition(arg)
		isID := err == nil && strings.Contains(arg, "-") && !strings.HasPrefix(arg, "-")
		if isID && (i == 0 || strings.TrimLeft(args[i-1], "-") != "after") {
			ids = append(ids, arg)
		} else {
			flags = append(flags, arg)
		}
	}
	return flags, ids
}

func (d *dlq) flags(fs *flag.FlagSet) {
	fs.StringVar(&d.which.Channel, "channel", "", "only those of a `channel`")
	fs.StringVar(&d.which.Subscription, "subscription", "", "only those of a subscription, by its `id`")
	fs.StringVar(&d.which.Reason, "reason", "", "only those given up for a `reason`, like validation or max_retries_exceeded")
	fs.StringVar(&d.which.After, "after", "", "only those after the one of an `id`")
	fs.IntVar(&d.which.Limit, "limit", 100, "list at most so many")
	fs.BoolVar(&d.all, "all", false, "replay or purge all that the other flags choose")
	fs.BoolVar(&d.browsers, "browsers", false, "replay to browsers as well, and to all subscriptions, once more")
	fs.BoolVar(&d.json, "json", false, "list as JSON, a line for each, with events")
}

func (d *dlq) check(action string) error {
	errs := []error{d.redis.Validate()}
	changes := action == "replay" || action == "purge"
	switch {
	case action == "show" && len(d.ids) != 1:
		errs = append(errs, errors.New("show: want the id of one dead letter"))
	case changes && (len(d.ids) == 0) != d.all:
		errs = append(errs, fmt.Errorf("%s: want the ids of dead letters, or -all for those that -channel, -subscription and -reason choose", action))
	case action == "list" && len(d.ids) > 0:
		errs = append(errs, errors.New("list: want no ids; show prints one"))
	}
	if d.browsers && action != "replay" {
		errs = append(errs, errors.New("browsers: goes with replay alone"))
	}
	return errors.Join(errs...)
}

// letterJSON is a dead letter as the API has it.
type letterJSON struct {
	ID           string          `json:"id"`
	Channel      string          `json:"channel"`
	Subscription string          `json:"subscription,omitempty"`
	Reason       string          `json:"reason"`
	Category     string          `json:"category,omitempty"`
	Error        string          `json:"error,omitempty"`
	Attempts     int             `json:"attempts"`
	EventID      string          `json:"eventId,omitempty"`
	EventType    string          `json:"eventType,omitempty"`
	At           string          `json:"at"`
	Truncated    bool            `json:"truncated,omitempty"`
	Event        json.RawMessage `json:"event"`
}

func encodeLetter(l adapter.DeadLetter) letterJSON {
	event := json.RawMessage(l.Event)
	if !json.Valid(event) {
		event = quote(string(l.Event))
	}
	return letterJSON{
		l.ID, l.Channel, l.Subscription, l.Reason, l.Category, l.Error, l.Attempts, l.EventID, l.EventType,
		l.At.UTC().Format("2006-01-02T15:04:05.000Z"), l.Truncated, event,
	}
}

func (d *dlq) list(ctx context.Context, std stdio) error {
	left := d.which.Limit
	table := tabwriter.NewWriter(std.out, 0, 0, 2, ' ', 0)
	if !d.json {
		fmt.Fprintln(table, "ID\tAT\tCHANNEL\tSUBSCRIPTION\tREASON\tATTEMPTS\tTYPE\tEVENT\tERROR")
	}
	for left > 0 {
		q := d.which
		q.Limit = min(left, 1000)
		page, next, err := d.letters.List(ctx, q)
		if err != nil {
			return err
		}
		for _, l := range page {
			left--
			if d.json {
				if err := json.NewEncoder(std.out).Encode(encodeLetter(l)); err != nil {
					return err
				}
				continue
			}
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\t%s\n", l.ID, l.At.UTC().Format("2006-01-02T15:04:05Z"), plainText(l.Channel),
				plainText(l.Subscription), plainText(l.Reason), l.Attempts, plainText(l.EventType), plainText(l.EventID), plainText(l.Error))
		}
		if next == "" {
			break
		}
		d.which.After = next
	}
	return table.Flush()
}

// plainText is a text that may be anybody's, for a terminal: on one line, without what terminals act on, and not too long.
func plainText(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	return clip(s, 80)
}

func (d *dlq) get(ctx context.Context, id string) (adapter.DeadLetter, error) {
	l, there, err := d.letters.Get(ctx, id)
	if err == nil && !there {
		err = fmt.Errorf("there is no dead letter %s", id)
	}
	return l, err
}

func (d *dlq) show(ctx context.Context, std stdio) error {
	l, err := d.get(ctx, d.ids[0])
	if err != nil {
		return err
	}
	out := json.NewEncoder(std.out)
	out.SetIndent("", "  ")
	return out.Encode(encodeLetter(l))
}

func (d *dlq) replayThem(ctx context.Context, std stdio) error {
	if d.all {
		d.which.Limit = 0
		replayed, failed, err := d.replay.ReplayAll(ctx, d.which, d.browsers)
		fmt.Fprintf(std.err, "replayed %d, failed %d\n", replayed, failed)
		return err
	}
	var errs []error
	for _, id := range d.ids {
		l, err := d.get(ctx, id)
		if err == nil {
			err = d.replay.Replay(ctx, l, d.browsers)
		}
		errs = append(errs, err)
	}
	err := errors.Join(errs...)
	failed := 0
	for _, e := range errs {
		if e != nil {
			failed++
		}
	}
	fmt.Fprintf(std.err, "replayed %d, failed %d\n", len(errs)-failed, failed)
	return err
}

func (d *dlq) purge(ctx context.Context, std stdio) error {
	var n int
	var err error
	if d.all {
		d.which.Limit = 0
		n, err = d.letters.Purge(ctx, d.which)
	} else {
		n, err = d.letters.Remove(ctx, d.ids...)
	}
	fmt.Fprintf(std.err, "purged %d\n", n)
	return err
}
