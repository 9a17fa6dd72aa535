package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"

	"go.uber.org/zap"

	"github.com/photo-management/event-bus/adapter"
	"github.com/photo-management/event-bus/events"
	"github.com/photo-management/event-bus/publisher"
)

// publishing is what publish can be told.
type publishing struct {
	redis       adapter.RedisConfig
	durable     bool
	inputPrefix string

	file            string
	source          string
	eventType, data string
	id, channel     string
	client, session string
	trace           string
}

// publish publishes one event, given by flags, or those of a file.
func publish(ctx context.Context, args []string, std stdio) error {
	var p publishing
	fs := newFlags("publish", "Publishes one event, given by -type and -data, or those of a file, one JSON object in a line: an Event, or\n"+
		`{"type","data","metadata"?}, which gets an id and a timestamp. Each event is held against the schema of its type.`, std)
	redisFlags(fs, &p.redis)
	fs.BoolVar(&p.durable, "durable", false, "write to a stream in Redis, which the bus reads even if it is not there just now; without it, only who listens hears")
	fs.StringVar(&p.inputPrefix, "input-prefix", "", "what the keys of those streams begin with; by default REDIS_KEY_PREFIX and in:")
	if err := parseFlags(fs, args, func() { p.flags(fs) }); err != nil {
		return err
	}
	if err := p.check(); err != nil {
		return usageError{err}
	}
	adapter.QuietRedis(zap.NewNop())
	if p.file != "" {
		return p.many(ctx, std)
	}
	return p.one(ctx, std)
}

func (p *publishing) flags(fs *flag.FlagSet) {
	fs.StringVar(&p.file, "file", "", "`path` of a file of events; - is standard input")
	fs.StringVar(&p.eventType, "type", "", "`type` of the event, like "+events.PhotoDeleted)
	fs.StringVar(&p.data, "data", "", "data of the event, a `JSON` object")
	fs.StringVar(&p.id, "id", "", "`id` of the event, which the bus delivers once (default a new one)")
	fs.StringVar(&p.channel, "channel", "", "`channel` to publish on (default that of the type)")
	fs.StringVar(&p.source, "source", "eventbus-cli", "metadata.source of the event, or of those in the file that have none")
	fs.StringVar(&p.client, "client-id", "", "metadata.clientId of the event")
	fs.StringVar(&p.session, "session-id", "", "metadata.sessionId of the event")
	fs.StringVar(&p.trace, "trace-id", "", "metadata.traceId of the event")
}

// check reports everything that is wrong with the command line at once.
func (p *publishing) check() error {
	errs := []error{p.redis.Validate()}
	single := p.eventType + p.data + p.id + p.channel + p.client + p.session + p.trace
	switch {
	case p.file != "" && single != "":
		errs = append(errs, errors.New("file: the events in it say all themselves; of the other flags only -source goes with it"))
	case p.file == "" && (p.eventType == "" || p.data == ""):
		errs = append(errs, errors.New("want -type and -data for one event, or -file for many"))
	case p.file == "" && !json.Valid([]byte(p.data)):
		errs = append(errs, errors.New(`data: not JSON; want an object like {"photoId":"photo-42"}`))
	}
	if p.source == "" {
		errs = append(errs, errors.New("source: want a name"))
	}
	return errors.Join(errs...)
}

// dial connects to the Redis that is named, else to one on this machine.
func (p *publishing) dial(ctx context.Context) (*adapter.Redis, error) {
	cfg := p.redis
	named := cfg.Named()
	if !named {
		cfg.Host = "127.0.0.1"
	}
	r, err := adapter.DialRedis(ctx, cfg, zap.NewNop())
	if err != nil && !named {
		return nil, fmt.Errorf("no Redis is named by --redis-url (REDIS_URL) or --redis-host (REDIS_HOST), so redis://127.0.0.1:%d was tried; "+
			"eventbus serve --dev prints the address of its own: %w", cfg.Port, err)
	}
	return r, err
}

// publisher publishes through a Redis, to streams of the name that the bus with these settings reads.
func (p *publishing) publisher(r *adapter.Redis) *publisher.Publisher {
	return publisher.New(r.Client(), publisher.Config{MaxBatch: chunkLines, Durable: p.durable, Prefix: cmp.Or(p.inputPrefix, r.KeyPrefix()+"in:")})
}

// one publishes the event of the flags.
func (p *publishing) one(ctx context.Context, std stdio) error {
	members := map[string]json.RawMessage{"type": quote(p.eventType), "data": json.RawMessage(p.data)}
	if p.id != "" {
		members["id"] = quote(p.id)
	}
	metadata := map[string]json.RawMessage{}
	for name, value := range map[string]string{"clientId": p.client, "sessionId": p.session, "traceId": p.trace} {
		if value != "" {
			metadata[name] = quote(value)
		}
	}
	ev, err := complete(nil, members, metadata, p.source)
	if err != nil {
		return err
	}
	redis, err := p.dial(ctx)
	if err != nil {
		return err
	}
	defer redis.Close()
	pub := p.publisher(redis)
	if p.channel == "" {
		err = pub.Publish(ctx, ev)
	} else {
		err = pub.PublishTo(ctx, p.channel, ev)
	}
	if err != nil {
		return fmt.Errorf("published 0, failed 1: %w", err)
	}
	fmt.Fprintln(std.err, "published 1, failed 0")
	return nil
}

// many publishes the events of the file.
func (p *publishing) many(ctx context.Context, std stdio) error {
	in := std.in
	if p.file != "-" {
		f, err := os.Open(p.file)
		if err != nil {
			return err
		}
		defer f.Close()
		in = f
	}
	redis, err := p.dial(ctx)
	if err != nil {
		return err
	}
	defer redis.Close()
	s := &stream{pub: p.publisher(redis), source: p.source, news: std.err}
	s.progress = newProgress(std.err, in)
	return s.run(ctx, in)
}
