package events

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// valid has data that fits, by type.
var valid = map[string]string{
	PhotoUploaded:                 `{"photoId":"p","userId":"u","filename":"f.jpg","size":0,"mimeType":"image/jpeg","more":1}`,
	PhotoProcessingStarted:        `{"photoId":"p","jobId":"j","stages":["resize"],"estimatedDuration":1.5}`,
	PhotoProcessingStageCompleted: `{"photoId":"p","jobId":"j","stage":"resize","result":null,"nextStage":"exif","progress":33.3}`,
	PhotoProcessingCompleted: `{"photoId":"p","jobId":"j","results":{"thumbnails":[{"size":"small","url":"/s","dimensions":{"width":1,"height":2}}],` +
		`"metadata":{"dimensions":{"width":1,"height":2},"format":"jpeg","colorSpace":"sRGB","exif":{"iso":100}},` +
		`"optimization":{"originalSize":10,"optimizedSize":5,"compressionRatio":0.5}},"duration":12.5}`,
	PhotoProcessingFailed:    `{"photoId":"p","jobId":"j","stage":"resize","error":{"code":"E1","message":"","details":[1]},"retryable":false}`,
	PhotoDeleted:             `{"photoId":"p"}`,
	BatchProcessingCompleted: `{"batchId":"b","photoIds":["p"],"total":2,"succeeded":1,"failed":1,"duration":0}`,
}

func event(eventType, data string) string {
	return fmt.Sprintf(`{"id":"e","type":%q,"data":%s,"metadata":{"source":"test","version":"1.0"},"timestamp":"2026-01-31T12:00:00.000Z"}`,
		eventType, data)
}

func TestValidateTakesEveryType(t *testing.T) {
	t.Parallel()
	for _, typ := range Types() {
		if err := Validate(decode(t, event(typ, valid[typ]))); err != nil {
			t.Errorf("%s: %v", typ, err)
		}
	}
}

func TestValidateRefuses(t *testing.T) {
	t.Parallel()
	uploaded := func(old, new string) string {
		return strings.Replace(event(PhotoUploaded, valid[PhotoUploaded]), old, new, 1)
	}
	tests := []struct {
		name, raw string
		want      []string
	}{
		{"string for a size", uploaded(`"size":0`, `"size":"0"`), []string{"data.size: want integer, got string"}},
		{"negative size", uploaded(`"size":0`, `"size":-1`), []string{"data.size: want at least 0"}},
		{"half a byte", uploaded(`"size":0`, `"size":0.5`), []string{"data.size: want integer, got number"}},
		{"empty id", uploaded(`"photoId":"p"`, `"photoId":""`), []string{"data.photoId: want a non-empty string"}},
		{"all at once", event(PhotoUploaded, `{"userId":5,"size":-1}`), []string{
			"data.filename: missing, want string", "data.mimeType: missing, want string", "data.photoId: missing, want string",
			"data.size: want at least 0", "data.userId: want string, got number"}},
		{"envelope", `{"id":"e","type":"photo.deleted","data":{"photoId":"p"}}`, []string{
			"metadata: missing, want object", "timestamp: missing, want string"}},
		{"metadata", `{"id":"e","type":"photo.deleted","data":{},"metadata":{"clientId":null},"timestamp":"yesterday"}`, []string{
			"data.photoId: missing, want string", "metadata.clientId: want string, got null", "metadata.source: missing, want string",
			"metadata.version: missing, want string", "timestamp: want a date-time as in RFC 3339, such as 2026-01-31T12:00:00.000Z"}},
		{"progress", event(PhotoProcessingStageCompleted, `{"photoId":"p","jobId":"j","stage":"s","progress":100.1}`),
			[]string{"data.progress: want at most 100"}},
		{"error code", event(PhotoProcessingFailed, `{"photoId":"p","jobId":"j","stage":"s","error":{"message":"m"},"retryable":1}`),
			[]string{"data.error.code: missing, want string", "data.retryable: want boolean, got number"}},
		{"in an array", event(PhotoProcessingStarted, `{"photoId":"p","jobId":"j","stages":["a",2]}`),
			[]string{"data.stages.1: want string, got number"}},
		{"missing in an array", event(PhotoProcessingCompleted, strings.Replace(valid[PhotoProcessingCompleted], `,"height":2`, "", 1)),
			[]string{"data.results.thumbnails.0.dimensions.height: missing, want integer"}},
		{"a number without end", uploaded(`"size":0`, `"size":1e99999999`), []string{"want numbers within the range of a 64-bit float"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := Validate(decode(t, tt.raw))
			if want := "invalid event: " + strings.Join(tt.want, "; "); !errors.Is(err, ErrInvalid) || err.Error() != want {
				t.Errorf("Validate: %v\nwant      %s", err, want)
			}
			if errors.Is(err, ErrUnknownType) {
				t.Error("is ErrUnknownType, want a known type")
			}
		})
	}
}

func TestValidateUnknownType(t *testing.T) {
	t.Parallel()
	err := Validate(decode(t, event("photo.printed", "{}")))
	if !errors.Is(err, ErrUnknownType) || !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), `"photo.printed": want one of photo.uploaded, `) {
		t.Errorf("Validate: %v, want ErrUnknownType and the known types", err)
	}
	err = Validate(decode(t, `{"id":"e","type":"envelope","data":{}}`))
	if !errors.Is(err, ErrUnknownType) || !strings.Contains(err.Error(), "timestamp: missing, want string") {
		t.Errorf("Validate: %v, want ErrUnknownType and what else is wrong", err)
	}
}

func TestValidateBoundsItsError(t *testing.T) {
	t.Parallel()
	err := Validate(decode(t, event(PhotoProcessingStarted, `{"photoId":"p","jobId":"j","stages":[`+strings.Repeat("1,", 999)+`1]}`)))
	if err == nil || !strings.HasSuffix(err.Error(), "; and 980 more") || strings.Count(err.Error(), ";") != 20 {
		t.Errorf("Validate: %v, want 20 problems and a count of the rest", err)
	}
}

func TestValidateOfEventMadeByHand(t *testing.T) {
	t.Parallel()
	if err := Validate(Event{ID: "e", Type: PhotoDeleted}); !errors.Is(err, ErrInvalid) {
		t.Errorf("Validate without JSON: %v, want ErrInvalid", err)
	}
	e := decode(t, event(PhotoDeleted, valid[PhotoDeleted]))
	e.Type = PhotoUploaded // against the rules, but must not get the wrong schema's blessing
	e.raw = []byte(strings.Replace(event(PhotoDeleted, valid[PhotoUploaded]), "\n", "", 1))
	if err := Validate(e); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), `type: want "photo.uploaded"`) {
		t.Errorf("Validate of a type that is not the JSON's: %v, want a complaint about the type", err)
	}
}
