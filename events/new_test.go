package events

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
)

func TestNew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // its clock starts at midnight UTC, 2000-01-01
		time.Sleep(1500 * time.Millisecond)
		e, err := New(PhotoDeleted, map[string]string{"photoId": "<&>"}, Metadata{Source: "test", ClientID: "c"})
		if err != nil {
			t.Fatal(err)
		}
		id, err := uuid.Parse(e.ID)
		if err != nil || id.Version() != 7 {
			t.Errorf("ID = %q, want a UUIDv7", e.ID)
		}
		want := `{"id":"` + e.ID + `","type":"photo.deleted","data":{"photoId":"<&>"},` +
			`"metadata":{"source":"test","clientId":"c","version":"1.0"},"timestamp":"2000-01-01T00:00:01.500Z"}`
		if string(e.Raw()) != want {
			t.Errorf("Raw() = %s\nwant    %s", e.Raw(), want)
		}
		if again := decode(t, want); !reflect.DeepEqual(again, e) {
			t.Errorf("New = %+v, but Decode of its JSON = %+v", e, again)
		}
		if err := Validate(e); err != nil {
			t.Error(err)
		}
		next, err := New(PhotoDeleted, struct{}{}, Metadata{Version: "2"})
		if err != nil || next.ID <= e.ID || next.Metadata.Version != "2" {
			t.Errorf("next event: %+v, %v, want a greater ID than %s and version 2", next, err, e.ID)
		}
	})
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		typ  string
		data any
		want error // nil means any
	}{
		{"no type", "", struct{}{}, ErrMalformed},
		{"no data", PhotoDeleted, nil, ErrMalformed},
		{"an array", PhotoDeleted, []int{1}, ErrMalformed},
		{"not JSON", PhotoDeleted, make(chan int), nil},
		{"too large", PhotoDeleted, map[string]string{"photoId": strings.Repeat("x", DefaultMaxBytes)}, ErrTooLarge},
	}
	for _, tt := range tests {
		if _, err := New(tt.typ, tt.data, Metadata{}); err == nil || tt.want != nil && !errors.Is(err, tt.want) {
			t.Errorf("%s: error %v, want %v", tt.name, err, tt.want)
		}
	}
}
