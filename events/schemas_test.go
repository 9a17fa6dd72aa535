package events

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// seed has the interfaces of the design document, 4.1 and 4.2, by type: each field of data with its TypeScript type, "?"
// if it is optional. An element of an array is "0". The design names photo.deleted and batch.processing.completed without
// an interface: what they need is here, everything else is optional. A required field of type any may be undefined,
// which JSON leaves out.
var seed = map[string]string{
	PhotoUploaded:                 `photoId string, userId string, filename string, size number, mimeType string`,
	PhotoProcessingStarted:        `photoId string, jobId string, stages array, stages.0 string, estimatedDuration? number`,
	PhotoProcessingStageCompleted: `photoId string, jobId string, stage string, result? any, nextStage? string, progress number`,
	PhotoProcessingCompleted: `photoId string, jobId string, results object, results.thumbnails array, results.thumbnails.0 object,
		results.thumbnails.0.size string, results.thumbnails.0.url string, results.thumbnails.0.dimensions object,
		results.thumbnails.0.dimensions.width number, results.thumbnails.0.dimensions.height number,
		results.metadata object, results.metadata.dimensions object, results.metadata.dimensions.width number,
		results.metadata.dimensions.height number, results.metadata.format string, results.metadata.colorSpace string,
		results.metadata.exif? any, results.optimization object, results.optimization.originalSize number,
		results.optimization.optimizedSize number, results.optimization.compressionRatio number, duration number`,
	PhotoProcessingFailed: `photoId string, jobId string, stage string, error object, error.code string, error.message string,
		error.details? any, retryable boolean`,
	PhotoDeleted: `photoId string, userId? string, reason? string`,
	BatchProcessingCompleted: `batchId string, userId? string, photoIds? array, photoIds.0 string, total? number, succeeded? number,
		failed? number, duration? number`,
}

// whole has a value for every field, by type.
var whole = map[string]string{
	PhotoProcessingStageCompleted: `{"photoId":"p","jobId":"j","stage":"s","result":{"a":[1]},"nextStage":"t","progress":0}`,
	PhotoProcessingFailed: `{"photoId":"p","jobId":"j","stage":"s","error":{"code":"c","message":"m","details":{"a":1}},
		"retryable":true}`,
	PhotoDeleted:             `{"photoId":"p","userId":"u","reason":"r"}`,
	BatchProcessingCompleted: `{"batchId":"b","userId":"u","photoIds":["p"],"total":1,"succeeded":1,"failed":0,"duration":1}`,
}

// values has one of each kind.
var values = map[string]any{"string": "x", "number": 1, "boolean": true, "object": map[string]any{}, "array": []any{}, "null": nil}

func TestSchemasAreTheSeeds(t *testing.T) {
	t.Parallel()
	for _, typ := range Types() {
		data := whole[typ]
		if data == "" {
			data = valid[typ]
		}
		for entry := range strings.SplitSeq(seed[typ], ",") {
			name, want, _ := strings.Cut(strings.TrimSpace(entry), " ")
			path, optional := strings.ReplaceAll(name, "?", ""), strings.HasSuffix(name, "?")
			t.Run(typ+"/"+path, func(t *testing.T) {
				for kind, value := range values {
					fits := want == "any" || kind == want && kind != "object" && kind != "array"
					if kind == want && !fits {
						continue // an empty one may lack something
					}
					wantProblem(t, typ, edit(t, data, path, value), fits, fmt.Sprintf("data.%s: want ", path))
				}
				if !strings.HasSuffix(path, ".0") { // there may be none
					wantProblem(t, typ, edit(t, data, path, remove), optional, fmt.Sprintf("data.%s: missing", path))
				}
			})
		}
		wantProblem(t, typ, data, true, "")
	}
}

// TestEnvelopeIsTheSeeds has the fields of 4.1. What the bus needs of them, Decode asks for besides.
func TestEnvelopeIsTheSeeds(t *testing.T) {
	t.Parallel()
	event := `{"id":"e","type":"photo.deleted","data":{"photoId":"p"},"timestamp":"2026-01-31T12:00:00Z",
		"metadata":{"source":"s","traceId":"t","clientId":"c","sessionId":"n","version":"1.0","traceparent":"00-1"}}`
	s := platformSchemas()[PhotoDeleted]
	for path, optional := range map[string]bool{"id": false, "type": false, "data": false, "metadata": false, "timestamp": false,
		"metadata.source": false, "metadata.version": false, "metadata.traceId": true, "metadata.clientId": true,
		"metadata.sessionId": true, "metadata.traceparent": true} {
		if problems := check(s.full, []byte(edit(t, event, path, remove))); (problems == nil) != optional {
			t.Errorf("without %s: %v, want it to be valid: %v", path, problems, optional)
		}
		for kind, value := range values {
			problems := check(s.full, []byte(edit(t, event, path, value)))
			fits := kind == "string" && path != "data" && path != "metadata" && path != "timestamp" && path != "type"
			if (problems == nil) != fits {
				t.Errorf("%s is a %s: %v, want it to be valid: %v", path, kind, problems, fits)
			}
		}
	}
}

// wantProblem validates an event with such data.
func wantProblem(t *testing.T, eventType, data string, fits bool, problem string) {
	t.Helper()
	err := Validate(decode(t, event(eventType, data)))
	if fits && err != nil || !fits && (err == nil || !strings.Contains(err.Error(), problem)) {
		t.Errorf("%s: %v, want it to be valid: %v, else %q", data, err, fits, problem)
	}
}

// remove stands for no value in edit.
var remove = new(int)

// edit replaces or removes the value at a path.
func edit(t *testing.T, text, path string, value any) string {
	t.Helper()
	var doc map[string]any
	if err := json.Unmarshal([]byte(text), &doc); err != nil {
		t.Fatal(err)
	}
	var at any = doc
	parts := strings.Split(path, ".")
	for _, part := range parts[:len(parts)-1] {
		if list, ok := at.([]any); ok {
			at = list[0]
		} else {
			at = at.(map[string]any)[part]
		}
	}
	last := parts[len(parts)-1]
	switch at := at.(type) {
	case []any:
		at[0] = value
	case map[string]any:
		if at[last] = value; value == any(remove) {
			delete(at, last)
		}
	}
	raw, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}
