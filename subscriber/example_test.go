package subscriber_test

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"github.com/redis/go-redis/v9"

	"github.com/photo-management/event-bus/events"
	"github.com/photo-management/event-bus/subscriber"
)

// A service that makes thumbnails. Run as many of it as there is work for.
func Example() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	client := redis.NewClient(&redis.Options{Addr: "localhost:6379"})
	defer client.Close()
	sub, err := subscriber.New(client, subscriber.Config{
		Group:    "thumbnailer",
		Channels: []string{events.ChannelUpload},
		Match:    func(ev events.Event) bool { return ev.Type == events.PhotoUploaded },
	})
	if err != nil {
		panic(err)
	}
	err = sub.Run(ctx, func(ctx context.Context, ev events.Event) error {
		fmt.Println("make thumbnails of", string(ev.Data))
		return nil // an error has the event tried again
	})
	if err != nil {
		panic(err)
	}
}
