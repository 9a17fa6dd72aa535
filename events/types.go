package events

import "sync"

// The event types of the photo platform.
const (
	PhotoUploaded                 = "photo.uploaded"
	PhotoProcessingStarted        = "photo.processing.started"
	PhotoProcessingStageCompleted = "photo.processing.stage.completed"
	PhotoProcessingCompleted      = "photo.processing.completed"
	PhotoProcessingFailed         = "photo.processing.failed"
	PhotoDeleted                  = "photo.deleted"
	BatchProcessingCompleted      = "batch.processing.completed"
)

// The channels events are published on unless the publisher names another.
const (
	ChannelUpload     = "photo:upload"
	ChannelProcessing = "photo:processing"
	ChannelCompletion = "photo:completion"
)

var types = [...]struct{ name, channel string }{
	{PhotoUploaded, ChannelUpload},
	{PhotoProcessingStarted, ChannelProcessing},
	{PhotoProcessingStageCompleted, ChannelProcessing},
	{PhotoProcessingCompleted, ChannelCompletion},
	{PhotoProcessingFailed, ChannelCompletion},
	{PhotoDeleted, ChannelUpload},
	{BatchProcessingCompleted, ChannelCompletion},
}

// builtIn is the registry of the types above, which publishers use.
var builtIn = sync.OnceValue(func() *Registry {
	r, err := NewRegistry(nil)
	if err != nil {
		panic(err) // there is nothing in it that could be wrong
	}
	return r
})

// Validate is Registry.Validate for the types of the photo platform.
func Validate(e Event) error { return builtIn().Validate(e) }

// Types lists the event types of the photo platform.
func Types() []string {
	names := make([]string, len(types))
	for i, t := range types {
		names[i] = t.name
	}
	return names
}

// Channel returns the default channel of an event type of the photo platform, and whether it is one.
func Channel(eventType string) (string, bool) {
	for _, t := range types {
		if t.name == eventType {
			return t.channel, true
		}
	}
	return "", false
}
