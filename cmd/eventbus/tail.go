package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"net/url"
	"os"
	"time"

	"github.com/photo-management/event-bus/auth"
)

// tailing is what tail can be told.
type tailing struct {
	sign signing

	url, token      string
	photos, users   []string
	client, session string
	events          []string
	count           int
}

// tail prints what a browser would receive: one JSON object in a line on standard output, all else on standard error.
func tail(ctx context.Context, args []string, std stdio) error {
	var t tailing
	fs := newFlags("tail", `Prints what a browser would receive, one JSON object {"event","data","offset"} in a line. Events that come while the`+"\n"+
		"connection is broken are printed when it is back. Without -token it makes itself one that may follow every photo and user.", std)
	t.sign.flags(fs)
	if err := parseFlags(fs, args, func() { t.flags(fs) }); err != nil {
		return err
	}
	t.token = cmp.Or(t.token, os.Getenv("EVENTBUS_TOKEN"))
	address, err := t.check()
	if err != nil {
		return usageError{err}
	}
	f := &follower{
		url:      address,
		token:    t.newToken,
		requests: t.requests(),
		events:   t.events,
		count:    t.count,
		out:      std.out,
		news:     std.err,
	}
	return f.run(ctx)
}

func (t *tailing) flags(fs *flag.FlagSet) {
	fs.StringVar(&t.url, "url", cmp.Or(os.Getenv("EVENTBUS_URL"), "http://127.0.0.1:3003"), "`address` of the service, or EVENTBUS_URL; http or https")
	fs.StringVar(&t.token, "token", "", "`token` to connect with; better in the environment (EVENTBUS_TOKEN) than on a command line")
	fs.Func("photo", "`id` of a photo to follow; may be repeated", several(&t.photos))
	fs.Func("user", "`id` of a user to follow; may be repeated", several(&t.users))
	fs.StringVar(&t.client, "client", "", "client `id` to identify with (default a new one)")
	fs.StringVar(&t.session, "session", "", "session `id` to identify with")
	fs.Func("event", "`name` of the events to print, like processing.event (default all); may be repeated", several(&t.events))
	fs.IntVar(&t.count, "count", 0, "how many events to print before the end; 0 is no end")
}

// check reports everything that is wrong with the command line at once, and returns the websocket's address.
func (t *tailing) check() (string, error) {
	var errs []error
	if t.token == "" {
		if len(t.sign.Secret) == 0 {
			errs = append(errs, errors.New("token (EVENTBUS_TOKEN) or jwt-secret (JWT_SECRET): none is set; the service asks for a token"))
		} else {
			errs = append(errs, t.sign.check())
		}
	}
	if t.count < 0 {
		errs = append(errs, fmt.Errorf("count: %d; want 0 or more", t.count))
	}
	address, err := websocketURL(t.url)
	return address, errors.Join(append(errs, err)...)
}

// websocketURL is where the service at an address has its websockets. A path is what a proxy has put before it.
func websocketURL(address string) (string, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" {
		return "", errors.New("url (EVENTBUS_URL): want an address like http://127.0.0.1:3003, without credentials")
	}
	switch u.Scheme {
	case "http", "ws":
		u.Scheme = "ws"
	case "https", "wss":
		u.Scheme = "wss"
	default:
		return "", fmt.Errorf("url (EVENTBUS_URL): want http or https, not %q", u.Scheme)
	}
	u = u.JoinPath("socket.io/")
	q := u.Query()
	q.Set("EIO", "4")
	q.Set("transport", "websocket")
	u.RawQuery = q.Encode()
	return u.String(), nil
}

// newToken is asked for before each connection: one made here never gets old.
func (t *tailing) newToken(ctx context.Context) (string, error) {
	if t.token != "" {
		return t.token, nil
	}
	return t.sign.token(ctx, auth.Identity{UserID: "eventbus-tail", Permissions: []string{"photo:read:*", "user:read:*"}}, time.Hour)
}

// requests are what to ask the service for once connected. identify comes first: it brings an offset to recover from.
func (t *tailing) requests() []request {
	who := map[string]string{"clientId": cmp.Or(t.client, "tail-"+rand.Text())}
	if t.session != "" {
		who["sessionId"] = t.session
	}
	all := []request{{"identify", who, "identified as client " + who["clientId"]}}
	for _, photo := range t.photos {
		all = append(all, request{"subscribe:photo", map[string]string{"photoId": photo}, "subscribed to photo " + photo})
	}
	for _, user := range t.users {
		all = append(all, request{"subscribe:user", map[string]string{"userId": user}, "subscribed to user " + user})
	}
	return all
}
