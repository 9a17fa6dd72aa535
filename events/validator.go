package events

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// The kinds of validators.
const (
	SchemaValidator     = "schema"
	PermissionValidator = "permission"
	RateLimitValidator  = "rate_limit"
	ContentValidator    = "content"
)

const (
	maxValidators      = 20 // of one type
	maxValidatedTypes  = 1000
	maxPermissionBytes = 512     // and of a rate limit's key
	maxWindow          = 86_400  // seconds
	maxLimit           = 100_000 // what is counted of a key in Redis
)

// ValidatorSpec is one entry of security.eventValidation: something more that is asked of the events of a type.
type ValidatorSpec struct {
	Name string `json:"name"` // for errors, logs and audit; of the type, unique
	// Type is one of
	//   - schema: the event must fit Schema, or if there is none, the schema registered for its type
	//   - permission: the publisher must have Permission
	//   - rate_limit: of those events with the same Config.Key, at most Config.Limit may come in Config.Window
	//   - content: the event must keep all Rules
	Type       string          `json:"type"`
	Schema     json.RawMessage `json:"schema,omitempty"` // as TypeSpec.Schema
	Permission string          `json:"permission,omitempty"`
	Config     RateSpec        `json:"config,omitzero"`
	Rules      []ContentRule   `json:"rules,omitempty"`
}

// RateSpec is the config of a rate_limit validator.
type RateSpec struct {
	Key    string `json:"key"`    // in which {userId} and {eventType} stand for the event's
	Window int    `json:"window"` // seconds, 1 to 86400
	Limit  int    `json:"limit"`  // events, 1 to 100000
}

// For fills in the key.
func (s RateSpec) For(userID, eventType string) string {
	return strings.NewReplacer("{userId}", userID, "{eventType}", eventType).Replace(s.Key)
}

// Validator is a compiled ValidatorSpec.
type Validator struct {
	ValidatorSpec
	// Check is what a schema or content validator asks; its error is ErrInvalid. It is nil for the others, which
	// concern the publisher: those are the caller's to run.
	Check func(Event) error
}

const validationKey = "security.eventValidation"

// ParseValidators reads the configuration's security.eventValidation: an object with a list of validators for each event
// type. Unknown keys are errors. The error has every problem with its place; what the values mean, CompileValidators
// checks.
func ParseValidators(text json.RawMessage) (map[string][]ValidatorSpec, error) {
	if absent(text) {
		return nil, nil
	}
	var types map[string]json.RawMessage
	if json.Unmarshal(text, &types) != nil {
		return nil, fmt.Errorf("%s: want lists of validators by event type", validationKey)
	}
	specs := make(map[string][]ValidatorSpec, len(types))
	var problems []error
	for _, name := range slices.Sorted(maps.Keys(types)) {
		place := validatorPlace(name)
		var list []json.RawMessage
		if json.Unmarshal(types[name], &list) != nil {
			problems = append(problems, fmt.Errorf("%s: want a list of validators", place))
			continue
		}
		specs[name] = make([]ValidatorSpec, len(list))
		for i, entry := range list {
			if err := strict(entry, &specs[name][i], fmt.Sprintf("%s[%d]", place, i)); err != nil {
				problems = append(problems, err)
			}
		}
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	return specs, nil
}

func validatorPlace(eventType string) string {
	return fmt.Sprintf("%s[%q]", validationKey, cut(eventType, maxFieldBytes))
}

// CompileValidators compiles the validators of each event type, in their order. The error has every problem with its
// place.
func (r *Registry) CompileValidators(specs map[string][]ValidatorSpec) (map[string][]Validator, error) {
	if len(specs) > maxValidatedTypes {
		return nil, fmt.Errorf("%s: %d event types: want at most %d", validationKey, len(specs), maxValidatedTypes)
	}
	compiled := make(map[string][]Validator, len(specs))
	var problems []error
	for _, eventType := range slices.Sorted(maps.Keys(specs)) {
		place := validatorPlace(eventType)
		list := specs[eventType]
		if len(list) > maxValidators {
			problems = append(problems, fmt.Errorf("%s: %d validators: want at most %d", place, len(list), maxValidators))
			continue
		}
		if _, known := r.Channel(eventType); !known && r.refuseUnknown || eventType == "" || len(eventType) > maxNameBytes {
			problems = append(problems, fmt.Errorf("%s: no known event type: want one of %s, or declare it in events.types",
				place, strings.Join(r.names, ", ")))
		}
		names := make(map[string]bool, len(list))
		for i, spec := range list {
			c := validatorCompiler{registry: r, eventType: eventType, place: fmt.Sprintf("%s[%d]", place, i)}
			if spec.Name == "" || len(spec.Name) > maxNameBytes || names[spec.Name] {
				c.problem("name", "%q: want a name of 1 to %d bytes that no other of the type has", cut(spec.Name, maxFieldBytes), maxNameBytes)
			}
			names[spec.Name] = true
			compiled[eventType] = append(compiled[eventType], c.compile(spec))
			problems = append(problems, c.problems...)
		}
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	return compiled, nil
}

// validatorCompiler collects the problems of one validator.
type validatorCompiler struct {
	registry         *Registry
	eventType, place string
	problems         []error
}

func (c *validatorCompiler) problem(key, format string, args ...any) {
	c.problems = append(c.problems, fmt.Errorf("%s.%s: %s", c.place, key, fmt.Sprintf(format, args...)))
}

func (c *validatorCompiler) compile(spec ValidatorSpec) Validator {
	for _, key := range []struct {
		name, of string
		given    bool
	}{
		{"schema", SchemaValidator, !absent(spec.Schema)},
		{"permission", PermissionValidator, spec.Permission != ""},
		{"config", RateLimitValidator, spec.Config != RateSpec{}},
		{"rules", ContentValidator, len(spec.Rules) > 0},
	} {
		if key.given && spec.Type != key.of {
			c.problem(key.name, "want it only in a validator of type %s", key.of)
		}
	}
	v := Validator{ValidatorSpec: spec}
	switch spec.Type {
	case SchemaValidator:
		v.Check = c.schema(spec.Schema)
	case PermissionValidator:
		if spec.Permission == "" || len(spec.Permission) > maxPermissionBytes {
			c.problem("permission", "%d bytes: want a permission, such as event_bus:publish:photo:upload, of at most %d",
				len(spec.Permission), maxPermissionBytes)
		}
	case RateLimitValidator:
		c.rate(spec.Config)
	case ContentValidator:
		check, err := CompileContent(spec.Rules, c.place+".rules")
		if err != nil {
			c.problems = append(c.problems, err)
		}
		v.Check = check
	default:
		c.problem("type", "%q: want schema, permission, rate_limit or content", cut(spec.Type, maxFieldBytes))
	}
	return v
}

func (c *validatorCompiler) schema(text json.RawMessage) func(Event) error {
	if absent(text) {
		if _, known := c.registry.Channel(c.eventType); !known {
			c.problem("schema", "missing: nothing is registered for %q: want a schema here or in events.types", cut(c.eventType, maxFieldBytes))
		}
		return c.registry.Validate
	}
	s, err := compileSchema(text, c.eventType)
	if err != nil {
		c.problem("schema", "%v", err)
		return nil
	}
	return func(e Event) error {
		if e.raw == nil {
			return errNoJSON
		}
		return s.validate(e)
	}
}

func (c *validatorCompiler) rate(spec RateSpec) {
	if spec.Key == "" || len(spec.Key) > maxPermissionBytes {
		c.problem("config.key", "%d bytes: want a key, such as publish:{userId}:{eventType}, of 1 to %d", len(spec.Key), maxPermissionBytes)
	}
	if rest := strings.NewReplacer("{userId}", "", "{eventType}", "").Replace(spec.Key); strings.ContainsAny(rest, "{}") {
		c.problem("config.key", "%q: want no braces but those of {userId} and {eventType}", cut(spec.Key, maxFieldBytes))
	}
	if spec.Window < 1 || spec.Window > maxWindow {
		c.problem("config.window", "%d: want 1 to %d seconds", spec.Window, maxWindow)
	}
	if spec.Limit < 1 || spec.Limit > maxLimit {
		c.problem("config.limit", "%d: want 1 to %d events", spec.Limit, maxLimit)
	}
}
