package events

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// The values of Config.Unknown.
const (
	AllowUnknown  = "allow"
	RefuseUnknown = "refuse"
)

const (
	maxTypes        = 1000 // declared ones
	maxVersionBytes = 64
)

// Config is the section events of the configuration.
type Config struct {
	// Types are declared besides those of the photo platform.
	Types []TypeSpec `json:"types,omitempty"`
	// Unknown says what Check does with an event of a type that nobody has declared: "allow" it, which is what empty
	// means, or "refuse" it.
	Unknown string `json:"unknown,omitempty"`
}

// TypeSpec declares an event type, or one more version of a type.
type TypeSpec struct {
	// Name is the event's type, such as "photo.printed", at most 256 bytes.
	Name string `json:"name"`
	// Version is that of the schema: digits, letters, ".", "-" and "_", at most 64 bytes. Empty is for all events whose
	// metadata.version nothing else is for. Of an event's version and those declared,
	//   1. the same one counts,
	//   2. else, of those with the same text before the first dot, the one declared last: "2.0" and "2" are for "2.7",
	//   3. else the one without a version. The types of the photo platform have one.
	Version string `json:"version,omitempty"`
	// Channel is where the type's events are published by default. Every version has the same: only the first one
	// declared needs to say it, and none of a type of the photo platform.
	Channel string `json:"channel,omitempty"`
	// Schema is a JSON Schema 2020-12 of the whole event (not only its data), an object of at most 256 KiB. The envelope
	// that all events have, and that type is Name, is asked for anyway. Formats are checked. It may refer to itself,
	// and to "envelope.json" and "<type>.json" of the photo platform if it has no $id; to nothing else.
	Schema json.RawMessage `json:"schema"`
}

// Validate reports everything that is wrong with the configuration.
func (c Config) Validate() error {
	_, err := c.Registry()
	return err
}

// Registry compiles the configuration. The error has every problem with its key.
func (c Config) Registry() (*Registry, error) {
	r, err := NewRegistry(c.Types)
	switch c.Unknown {
	case "", AllowUnknown:
	case RefuseUnknown:
		if err == nil {
			r.refuseUnknown = true
		}
	default:
		err = errors.Join(err, fmt.Errorf("events.unknown: %q: want %s or %s", c.Unknown, AllowUnknown, RefuseUnknown))
	}
	if err != nil {
		return nil, err
	}
	return r, nil
}

// Registry knows event types, their schemas and their channels. It never changes and is safe for concurrent use. Make
// it with NewRegistry or Config.Registry.
type Registry struct {
	types         map[string]*registered
	names         []string // in order of declaration
	envelope      *schema
	refuseUnknown bool
}

// registered is one type.
type registered struct {
	channel  string
	versions []version // in order of declaration
}

type version struct {
	name   string // empty: for all others
	schema *schema
}

// NewRegistry makes the registry of the photo platform's types and those of specs. The error has every problem with
// its place below "events.types".
func NewRegistry(specs []TypeSpec) (*Registry, error) {
	r := &Registry{types: make(map[string]*registered, len(types)+len(specs)), names: Types(), envelope: platformSchemas()[envelope]}
	for _, t := range types {
		r.types[t.name] = &registered{channel: t.channel, versions: []version{{schema: platformSchemas()[t.name]}}}
	}
	if len(specs) > maxTypes {
		return nil, fmt.Errorf("events.types: %d of them: want at most %d", len(specs), maxTypes)
	}
	var problems []error
	for i, spec := range specs {
		problems = append(problems, r.add(spec, fmt.Sprintf("events.types[%d]", i))...)
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	return r, nil
}

func (r *Registry) add(spec TypeSpec, place string) (problems []error) {
	problem := func(key, format string, args ...any) {
		problems = append(problems, fmt.Errorf("%s.%s: %s", place, key, fmt.Sprintf(format, args...)))
	}
	if spec.Name == "" || len(spec.Name) > maxNameBytes {
		problem("name", "%d bytes: want a type's name, such as photo.printed, of 1 to %d", len(spec.Name), maxNameBytes)
	}
	if strings.Trim(spec.Version, versionLetters) != "" || len(spec.Version) > maxVersionBytes {
		problem("version", `%.64q: want letters, digits, ".", "-" and "_", such as 2.0, at most %d bytes`, spec.Version, maxVersionBytes)
	}
	t := r.types[spec.Name]
	switch {
	case t == nil && spec.Channel == "":
		problem("channel", "missing: want the channel that events of the type are published on, such as %s", ChannelUpload)
	case t == nil:
		t = &registered{channel: spec.Channel}
	case spec.Channel != "" && spec.Channel != t.channel:
		problem("channel", "%q: %s has %q already: want that, or leave it out", spec.Channel, spec.Name, t.channel)
	case slices.ContainsFunc(t.versions, func(v version) bool { return v.name == spec.Version }):
		problem("version", "%q of %s is there already: want another one", spec.Version, spec.Name)
	}
	s, err := compileSchema(spec.Schema, spec.Name)
	if err != nil {
		problem("schema", "%v", err)
	}
	if len(problems) > 0 {
		return problems
	}
	if r.types[spec.Name] == nil {
		r.types[spec.Name] = t
		r.names = append(r.names, spec.Name)
	}
	t.versions = append(t.versions, version{spec.Version, s})
	return nil
}

var errNoJSON = fmt.Errorf("%w: it has no JSON: make it with New or Decode", ErrInvalid)

const versionLetters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-_"

// Types lists the known event types: the photo platform's, then those declared, in their order.
func (r *Registry) Types() []string { return slices.Clone(r.names) }

// Channel returns the default channel of an event type, and whether the type is known.
func (r *Registry) Channel(eventType string) (string, bool) {
	if t := r.types[eventType]; t != nil {
		return t.channel, true
	}
	return "", false
}

// Validate holds an event against the JSON Schema of its type and version. The error is ErrInvalid and names every
// field that is wrong with what would be right, up to 20; it quotes no values. An event of no known type is
// ErrUnknownType besides.
func (r *Registry) Validate(e Event) error {
	if e.raw == nil {
		return errNoJSON
	}
	if t := r.types[e.Type]; t != nil {
		s := t.version(e.Metadata.Version)
		if s == nil {
			return fmt.Errorf("%w: metadata.version: want %s", ErrInvalid, t.wantVersions())
		}
		return s.validate(e)
	}
	return errors.Join(
		fmt.Errorf("%w: %w: %q: want one of %s", ErrInvalid, ErrUnknownType, e.Type, strings.Join(r.names, ", ")),
		r.envelope.validate(e))
}

// Check is Validate for who takes in events of others: an event of no known type passes unless Config.Unknown refuses
// it. Of that, Decode has made sure of what the bus itself relies on.
func (r *Registry) Check(e Event) error {
	if r.types[e.Type] == nil && !r.refuseUnknown && e.raw != nil {
		return nil
	}
	return r.Validate(e)
}

// version finds the schema for an event's metadata.version as TypeSpec.Version says; nil if there is none.
func (t *registered) version(of string) *schema {
	if len(t.versions) == 1 && t.versions[0].name == "" {
		return t.versions[0].schema
	}
	var same, any *schema
	major := majorOf(of)
	for _, v := range t.versions {
		switch {
		case v.name == "":
			any = v.schema
		case v.name == of:
			return v.schema
		case majorOf(v.name) == major:
			same = v.schema
		}
	}
	return cmp.Or(same, any)
}

func majorOf(version string) string {
	major, _, _ := strings.Cut(version, ".")
	return major
}

func (t *registered) wantVersions() string {
	names := make([]string, len(t.versions))
	for i, v := range t.versions {
		names[i] = v.name
	}
	return strings.Join(names, ", ")
}
