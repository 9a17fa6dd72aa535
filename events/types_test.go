package events

import "testing"

func TestChannel(t *testing.T) {
	t.Parallel()
	want := map[string]string{
		PhotoUploaded:                 "photo:upload",
		PhotoDeleted:                  "photo:upload",
		PhotoProcessingStarted:        "photo:processing",
		PhotoProcessingStageCompleted: "photo:processing",
		PhotoProcessingCompleted:      "photo:completion",
		PhotoProcessingFailed:         "photo:completion",
		BatchProcessingCompleted:      "photo:completion",
	}
	if got := len(Types()); got != len(want) {
		t.Errorf("%d types, want %d", got, len(want))
	}
	for _, typ := range Types() {
		if got, ok := Channel(typ); !ok || got != want[typ] {
			t.Errorf("Channel(%s) = %q, %v, want %q", typ, got, ok, want[typ])
		}
	}
	if got, ok := Channel("photo.printed"); ok || got != "" {
		t.Errorf("Channel of an unknown type = %q, %v", got, ok)
	}
}
