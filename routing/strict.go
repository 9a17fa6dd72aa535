package routing

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// decodeStrict decodes JSON into a struct that may have no other fields than these. The error is one problem, that
// says where it is and, for a field that is not there, which there are.
func decodeStrict(raw []byte, place string, into any, fields string) error {
	if !utf8.Valid(raw) {
		return fmt.Errorf("%s: want UTF-8", place)
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	err := d.Decode(into)
	if err == nil {
		if _, err = d.Token(); errors.Is(err, io.EOF) {
			return nil
		}
		return fmt.Errorf("%s: want one JSON value, and nothing behind it", place)
	}
	if mismatch, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		if field := strings.TrimLeft(mismatch.Field, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"); field != mismatch.Field { // of an embedded struct
			_, mismatch.Field, _ = strings.Cut(field, ".")
		}
		if mismatch.Field != "" {
			place += "." + mismatch.Field
		}
		return fmt.Errorf("%s: a JSON %s: want %s", place, mismatch.Value, jsonType(mismatch.Type.Kind().String()))
	}
	if name, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok { // it has no type of its own
		return fmt.Errorf("%s: unknown field %s: want %s", place, name, fields)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%s: want JSON, and all of it", place)
	}
	return fmt.Errorf("%s: %s", place, strings.TrimPrefix(err.Error(), "json: "))
}

// jsonType names what JSON calls a kind of Go.
func jsonType(kind string) string {
	switch kind {
	case "struct", "map":
		return "an object"
	case "slice":
		return "an array"
	case "bool":
		return "true or false"
	case "string":
		return "a string"
	case "int":
		return "a whole number"
	}
	return "a number"
}
