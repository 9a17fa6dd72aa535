package events

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// strict reads one entry of the configuration. An unknown key, or a value of another type, is an error that begins with
// the place of it.
func strict(text json.RawMessage, into any, place string) error {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	err := dec.Decode(into)
	var wrongType *json.UnmarshalTypeError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &wrongType):
		return fmt.Errorf("%s: want %s, got %s", strings.TrimSuffix(place+"."+wrongType.Field, "."), wantedType(wrongType), wrongType.Value)
	}
	if key, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		return fmt.Errorf("%s: unknown key %s: want it left out, or spelled right", place, cut(key, maxFieldBytes))
	}
	return fmt.Errorf("%s: %w", place, err)
}

func wantedType(err *json.UnmarshalTypeError) string {
	switch kind := err.Type.Kind().String(); kind {
	case "int":
		return "a whole number"
	case "slice":
		return "a list"
	case "struct":
		return "an object"
	default:
		return "a " + kind
	}
}
