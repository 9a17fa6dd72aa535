package web

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	maxFieldErrors = 20 // that one answer lists
	maxElements    = 10_000
	maxDecodeDepth = 32 // of structs, arrays and maps; what a field takes as raw JSON is not looked into
)

// decode reads one JSON value into the struct that into points to, strictly: names are matched exactly, a name must be known and come once, a null is no value, a field tagged `api:"required"` must be there,
// and nothing may follow. The error is an *Error of status 400 that lists all the fields that are wrong, by their path.
func decode(raw []byte, into any) error {
	if !utf8.Valid(raw) {
		return malformed("The JSON must be UTF-8.")
	}
	var whole json.RawMessage
	if err := json.Unmarshal(raw, &whole); err != nil {
		if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
			return malformed(fmt.Sprintf("The JSON is broken at byte %d.", syntax.Offset))
		}
		return malformed("The JSON is broken.")
	}
	var d decoder
	d.value(whole, reflect.ValueOf(into).Elem(), "", 0)
	if len(d.wrong) > 0 {
		return fieldsError(http.StatusBadRequest, d.wrong...)
	}
	return nil
}

// decoder walks JSON and Go value side by side. encoding/json alone would match names of any case, let the last of two
// win, stop at the first mistake, and not say where an unknown name was.
type decoder struct{ wrong []FieldError }

func (d *decoder) full() bool { return len(d.wrong) >= maxFieldErrors }

func (d *decoder) report(path, detail string) {
	if !d.full() {
		if path == "" {
			path = whole
		}
		d.wrong = append(d.wrong, FieldError{path, detail})
	}
}

func (d *decoder) value(raw json.RawMessage, v reflect.Value, path string, depth int) {
	if depth > maxDecodeDepth {
		d.report(path, fmt.Sprintf("is nested more than %d levels deep.", maxDecodeDepth))
		return
	}
	_, own := v.Addr().Interface().(json.Unmarshaler) // such as time.Time and json.RawMessage
	switch {
	case own || v.Kind() == reflect.Interface:
		d.leaf(raw, v, path)
	case v.Kind() == reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		d.value(raw, v.Elem(), path, depth)
	case v.Kind() == reflect.Struct:
		d.object(raw, v, path, depth)
	case v.Kind() == reflect.Map && v.Type().Key().Kind() == reflect.String:
		v.Set(reflect.MakeMap(v.Type()))
		d.members(raw, path, func(name string, member json.RawMessage) {
			element := reflect.New(v.Type().Elem()).Elem()
			d.value(member, element, join(path, name), depth+1)
			v.SetMapIndex(reflect.ValueOf(name).Convert(v.Type().Key()), element)
		})
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() != reflect.Uint8:
		d.array(raw, v, path, depth)
	default:
		d.leaf(raw, v, path)
	}
}

// array reads element by element: a few bytes of JSON are many of a slice.
func (d *decoder) array(raw json.RawMessage, v reflect.Value, path string, depth int) {
	if raw[0] != '[' {
		d.report(path, "must be an array.")
		return
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	_, _ = dec.Token() // the bracket; the syntax has been checked
	v.Set(reflect.MakeSlice(v.Type(), 0, 0))
	for i := 0; dec.More() && !d.full(); i++ {
		var member json.RawMessage
		if i == maxElements || dec.Decode(&member) != nil {
			d.report(path, fmt.Sprintf("may have %d elements.", maxElements))
			return
		}
		element := reflect.New(v.Type().Elem()).Elem()
		d.value(member, element, fmt.Sprintf("%s[%d]", path, i), depth+1)
		v.Set(reflect.Append(v, element))
	}
}

func (d *decoder) object(raw json.RawMessage, v reflect.Value, path string, depth int) {
	fields := fieldsOf(v.Type())
	seen := map[string]bool{}
	d.members(raw, path, func(name string, member json.RawMessage) {
		seen[name] = true
		i := slices.IndexFunc(fields, func(f field) bool { return f.name == name })
		if i < 0 {
			var known []string
			for _, f := range fields {
				known = append(known, f.name)
			}
			d.report(join(path, name), "is unknown. Known here: "+strings.Join(known, ", ")+".")
			return
		}
		d.value(member, v.FieldByIndex(fields[i].index), join(path, name), depth+1)
	})
	if raw[0] != '{' {
		return
	}
	for _, f := range fields {
		if f.required && !seen[f.name] {
			d.report(join(path, f.name), "is missing.")
		}
	}
}

// members calls back with each member of an object once.
func (d *decoder) members(raw json.RawMessage, path string, each func(name string, member json.RawMessage)) {
	if raw[0] != '{' {
		d.report(path, "must be an object.")
		return
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	_, _ = dec.Token() // the brace; the syntax has been checked
	seen := map[string]bool{}
	for dec.More() && !d.full() {
		token, err := dec.Token()
		name, isName := token.(string)
		var member json.RawMessage
		if err != nil || !isName || dec.Decode(&member) != nil {
			d.report(path, "is broken.")
			return
		}
		if seen[name] {
			d.report(join(path, name), "comes more than once.")
			continue
		}
		seen[name] = true
		each(name, member)
	}
}

func (d *decoder) leaf(raw json.RawMessage, v reflect.Value, path string) {
	_, isRaw := v.Interface().(json.RawMessage)
	if string(raw) == "null" && !isRaw && v.Kind() != reflect.Interface {
		d.report(path, "must be "+want(v.Type())+", not null.")
		return
	}
	if err := json.Unmarshal(raw, v.Addr().Interface()); err != nil {
		d.report(path, "must be "+want(v.Type())+".")
	}
}

// want says what a field of this type takes.
func want(t reflect.Type) string {
	if t == reflect.TypeFor[time.Time]() {
		return "a time as of RFC 3339, such as 2026-01-02T15:04:05Z"
	}
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return fmt.Sprintf("a whole number of at most %d bits", t.Bits())
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return fmt.Sprintf("a whole number of at most %d bits that is not negative", t.Bits())
	case reflect.Float32, reflect.Float64:
		return "a number within the range of a float"
	}
	return "a valid value"
}

// field is one of a struct as encoding/json names it.
type field struct {
	name     string
	index    []int
	required bool
}

func fieldsOf(t reflect.Type) []field {
	var fields []field
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case !f.IsExported() || name == "-" || f.Anonymous && name == "":
			continue
		case name == "":
			name = f.Name
		}
		fields = append(fields, field{name, f.Index, f.Tag.Get("api") == "required"})
	}
	return fields
}

func join(path, name string) string {
	if len(name) > 64 { // the caller's own text, of any length
		name = strings.ToValidUTF8(name[:64], "") + "…"
	}
	if path == "" {
		return name
	}
	return path + "." + name
}
