package events

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

// Types lists the known event types.
func Types() []string {
	names := make([]string, len(types))
	for i, t := range types {
		names[i] = t.name
	}
	return names
}

// Channel returns the default channel of an event type, and whether the type is known.
func Channel(eventType string) (string, bool) {
	for _, t := range types {
		if t.name == eventType {
			return t.channel, true
		}
	}
	return "", false
}
