package events

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tidwall/gjson"
)

// ContentRule is one rule of a content validator.
type ContentRule struct {
	// Type is one of
	//   - no_script: no string of data, name or value, has an opening script tag: "<script", in any case and however it
	//     is escaped in JSON, before the string's end or anything but a letter, digit or underscore
	//   - max_size: the JSON of data, as it came, has at most Value bytes
	//   - allowed_fields: data has no fields but those of Value, and what is in them
	Type string `json:"type"`
	// Value is a whole number of bytes from 1 for max_size. For allowed_fields it is a list of up to 1000 paths such as
	// "photoId", "data.photoId" (which is the same) and "results.thumbnails.url", which goes into each thumbnail of an
	// array. For no_script there is none.
	Value json.RawMessage `json:"value,omitempty"`
}

const (
	maxContentRules  = 20
	maxAllowedFields = 1000
)

// CompileContent compiles content rules into one check, whose error is ErrInvalid and names the rule that is broken and
// the field. The error of CompileContent has every problem with its place below the given one.
func CompileContent(rules []ContentRule, place string) (func(Event) error, error) {
	if len(rules) == 0 || len(rules) > maxContentRules {
		return nil, fmt.Errorf("%s: %d rules: want 1 to %d", place, len(rules), maxContentRules)
	}
	var checks []func(Event) error
	var problems []error
	for i, rule := range rules {
		check, err := rule.compile()
		if err != nil {
			problems = append(problems, fmt.Errorf("%s[%d].%w", place, i, err))
		}
		checks = append(checks, check)
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	return func(e Event) error {
		if e.raw == nil {
			return errNoJSON
		}
		for _, check := range checks {
			if err := check(e); err != nil {
				return err
			}
		}
		return nil
	}, nil
}

// compile's error begins with the key that is wrong.
func (r ContentRule) compile() (func(Event) error, error) {
	switch r.Type {
	case "no_script":
		if !absent(r.Value) {
			return nil, errors.New("value: want none for no_script")
		}
		return noScript, nil
	case "max_size":
		var limit int
		if absent(r.Value) || json.Unmarshal(r.Value, &limit) != nil || limit < 1 {
			return nil, errors.New("value: want a whole number of bytes from 1 for max_size, such as 65536")
		}
		return func(e Event) error {
			if size := len(e.data); size > limit {
				return broken("max_size", nil, fmt.Sprintf("%d bytes, want at most %d", size, limit))
			}
			return nil
		}, nil
	case "allowed_fields":
		allowed, err := allowedFields(r.Value)
		if err != nil {
			return nil, err
		}
		return func(e Event) error {
			if where, problem := allowed.check(data(e)); problem != "" {
				return broken("allowed_fields", where, problem)
			}
			return nil
		}, nil
	}
	return nil, fmt.Errorf("type: %q: want no_script, max_size or allowed_fields", r.Type)
}

func absent(raw json.RawMessage) bool { return len(raw) == 0 || string(raw) == "null" }

// data is an event's data for a walk over it.
func data(e Event) gjson.Result { return gjson.Result{Type: gjson.JSON, Raw: e.data} }

func broken(rule string, path []string, problem string) error {
	return fmt.Errorf("%w: %s: %s: %s", ErrInvalid, rule, joinFields(slices.Insert(path, 0, "data")), problem)
}

// fields is a node of the tree that allowed paths make: everything below it is allowed if it has no children.
type fields map[string]fields

func allowedFields(value json.RawMessage) (fields, error) {
	var paths []string
	if absent(value) || json.Unmarshal(value, &paths) != nil || len(paths) == 0 || len(paths) > maxAllowedFields {
		return nil, fmt.Errorf("value: want 1 to %d paths of fields for allowed_fields, such as [\"photoId\"]", maxAllowedFields)
	}
	root := make(fields)
	for i, text := range paths {
		path, err := ParsePath(strings.TrimPrefix(text, "data."))
		if err != nil {
			return nil, fmt.Errorf("value[%d]: %w", i, err)
		}
		root.allow(path.parts)
	}
	return root, nil
}

// allow adds a path. Where a shorter one allows everything already, it stays.
func (f fields) allow(path []part) {
	for i, p := range path {
		below, ok := f[p.name]
		switch {
		case i == len(path)-1:
			f[p.name] = nil
		case ok && below == nil:
			return
		case !ok:
			below = make(fields)
			f[p.name] = below
		}
		f = below
	}
}

// check walks over a value that has some allowed fields in it, and no others. Where one has a problem, it says which.
func (f fields) check(v gjson.Result) (where []string, problem string) {
	switch {
	case v.IsArray():
		v.ForEach(func(_, element gjson.Result) bool {
			where, problem = f.check(element)
			return problem == ""
		})
	case v.IsObject():
		v.ForEach(func(key, value gjson.Result) bool {
			if below, ok := f[key.Str]; !ok {
				problem = "not allowed, want it left out"
			} else if below != nil {
				where, problem = below.check(value)
			}
			if problem != "" {
				where = slices.Insert(where, 0, key.Str)
			}
			return problem == ""
		})
	default:
		problem = "only fields in it are allowed, want an object"
	}
	return where, problem
}
