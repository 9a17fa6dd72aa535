package publisher_test

import (
	"context"
	"fmt"

	"github.com/alicebob/miniredis/v2"
	"github.com/photo-management/event-bus/events"
	"github.com/photo-management/event-bus/publisher"
	"github.com/redis/go-redis/v9"
)

func Example() {
	ctx := context.Background()
	server, err := miniredis.Run() // stands in for your Redis
	if err != nil {
		panic(err)
	}
	defer server.Close()
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), ContextTimeoutEnabled: true})
	defer client.Close()
	bus := publisher.New(client, publisher.Config{})

	ev, err := events.New(events.PhotoUploaded, map[string]any{
		"photoId": "photo-123", "userId": "user-42", "filename": "beach.jpg", "size": 2483921, "mimeType": "image/jpeg",
	}, events.Metadata{Source: "upload-service", ClientID: "client-7"})
	if err != nil {
		panic(err)
	}
	fmt.Println("published:", bus.Publish(ctx, ev) == nil)

	// A mistake is found before anything is sent.
	ev, err = events.New(events.PhotoDeleted, map[string]any{"photo": "photo-123"}, events.Metadata{Source: "upload-service"})
	if err != nil {
		panic(err)
	}
	fmt.Println(events.Validate(ev))
	// Output:
	// published: true
	// invalid event: data.photoId: missing, want string
}
