package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/providers/rawbytes"
	"github.com/knadh/koanf/v2"
)

// maxConfigFile is the largest configuration file read, in bytes.
const maxConfigFile = 4 << 20

// sectionKeys are the parts of the configuration file that have a shape of their own, and no flags.
var sectionKeys = []string{
	"routing.rules", "filters", "subscriptions", "events.types", "events.unknown",
	"security.channelAccess", "security.eventValidation",
	"resilience.maxRetries", "resilience.baseRetryDelay", "resilience.maxRetryDelay", "scaling",
}

// sections are those of a configuration file, as JSON, by key.
type sections map[string]json.RawMessage

// readConfig sets the flags of fs from the configuration file, then from the environment, then from args, each over the
// one before. It reports all that is wrong at once.
func readConfig(fs *flag.FlagSet, args []string, own func()) (sections, error) {
	name := configFile(args)
	if name == "" {
		return nil, parseFlags(fs, args, own)
	}
	found, err := readFile(fs, name)
	if flags := parseFlags(fs, args, own); flags != nil {
		return found, errors.Join(err, flags)
	}
	return found, err
}

// configFile is the name of the configuration file, which is needed before the rest: as the flag package would find it,
// but that the other flags may be wrong.
func configFile(args []string) string {
	name := os.Getenv(envName("config-file"))
	for i, arg := range args {
		if arg == "--" {
			break
		}
		setting, value, given := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(arg, "-"), "-"), "=")
		switch {
		case !strings.HasPrefix(arg, "-") || setting != "config-file":
		case given:
			name = value
		case i+1 < len(args):
			name = args[i+1]
		}
	}
	return name
}

// readFile sets flags from a file, and returns its sections.
func readFile(fs *flag.FlagSet, name string) (sections, error) {
	where := "config-file (CONFIG_FILE)"
	f, err := os.Open(name)
	if err != nil {
		return nil, usageError{fmt.Errorf("%s: %w", where, err)}
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxConfigFile+1))
	switch {
	case err != nil:
		return nil, usageError{fmt.Errorf("%s: %w", where, err)}
	case len(text) > maxConfigFile:
		return nil, usageError{fmt.Errorf("%s: %s has more than %d bytes", where, name, maxConfigFile)}
	}
	k := koanf.New(".")
	if err := k.Load(rawbytes.Provider(text), yaml.Parser()); err != nil {
		return nil, usageError{fmt.Errorf("%s: %s is not YAML: %w", where, name, err)}
	}
	r := fileReader{fs: fs, flags: keyFlags(), given: map[string]string{}, found: sections{}}
	maps.Copy(r.flags, aliasKeys)
	r.walk("", k.Raw())
	if len(r.problems) > 0 {
		return nil, usageError{fmt.Errorf("%s:\n%w", name, errors.Join(r.problems...))}
	}
	return r.found, nil
}

// fileReader goes through the keys of a configuration file.
type fileReader struct {
	fs       *flag.FlagSet
	flags    map[string]string // by key
	given    map[string]string // keys, by flag
	found    sections
	problems []error
}

func (r *fileReader) walk(prefix string, at map[string]any) {
	for _, name := range slices.Sorted(maps.Keys(at)) {
		key := strings.TrimPrefix(prefix+"."+name, ".")
		value := at[name]
		switch inner, isMap := value.(map[string]any); {
		case slices.Contains(sectionKeys, key):
			text, err := json.Marshal(value)
			if err != nil {
				r.problems = append(r.problems, fmt.Errorf("%s: want keys that are texts: %w", key, err))
				continue
			}
			r.found[key] = text
		case r.flags[key] != "":
			if err := r.set(r.flags[key], key, value); err != nil {
				r.problems = append(r.problems, err)
			}
		case isMap && r.leadsOn(key):
			r.walk(key, inner)
		case value == nil && r.leadsOn(key): // a heading with all its keys commented out
		case r.leadsOn(key):
			r.problems = append(r.problems, fmt.Errorf("%s: want keys below it, such as %s", key, r.below(key)))
		default:
			r.problems = append(r.problems, fmt.Errorf("%s: is not known; %s", key, r.suggest(key)))
		}
	}
}

// set sets a flag, unless it has been set by another of its keys, to something else.
func (r *fileReader) set(name, key string, value any) error {
	f := r.fs.Lookup(name)
	before := f.Value.String()
	if err := setFromFile(f, key, value); err != nil {
		return err
	}
	if other := r.given[name]; other != "" && f.Value.String() != before {
		return fmt.Errorf("%s: differs from %s, which is the same setting; give one of them", key, other)
	}
	r.given[name] = key
	return nil
}

// known lists every key there is.
func (r *fileReader) known() []string {
	return slices.Sorted(slices.Values(slices.Concat(slices.Collect(maps.Keys(r.flags)), sectionKeys)))
}

// leadsOn reports whether there are keys below this one.
func (r *fileReader) leadsOn(key string) bool { return r.below(key) != "" }

func (r *fileReader) below(key string) string {
	for _, k := range r.known() {
		if strings.HasPrefix(k, key+".") {
			return k
		}
	}
	return ""
}

// suggest says what may have been meant.
func (r *fileReader) suggest(key string) string {
	last := key[strings.LastIndex(key, ".")+1:]
	var near []string
	for _, k := range r.known() {
		if strings.EqualFold(k, key) || strings.EqualFold(k[strings.LastIndex(k, ".")+1:], last) {
			near = append(near, k)
		}
	}
	if len(near) > 0 {
		return "did you mean " + strings.Join(near, " or ") + "?"
	}
	parent, _, _ := strings.Cut(key, ".")
	for _, k := range r.known() {
		if strings.HasPrefix(k, parent+".") {
			near = append(near, k)
		}
	}
	if len(near) > 0 {
		return "there are " + strings.Join(near, ", ")
	}
	tops := map[string]bool{}
	for _, k := range r.known() {
		top, _, _ := strings.Cut(k, ".")
		tops[top] = true
	}
	return "want one of " + strings.Join(slices.Sorted(maps.Keys(tops)), ", ")
}

// effective is the whole configuration as YAML, in the form of the file, with secrets masked.
func effective(fs *flag.FlagSet, found sections) ([]byte, error) {
	all := map[string]any{}
	for name, key := range settingKeys {
		f := fs.Lookup(name)
		switch {
		case secrets[name] && f.Value.String() != "":
			all[key] = "********"
		case isDuration(f):
			all[key] = f.Value.String()
		default:
			all[key] = yamlValue(f)
		}
	}
	for key, text := range found {
		var value any
		if err := json.Unmarshal(text, &value); err != nil {
			return nil, err
		}
		all[key] = mask(value)
	}
	k := koanf.New(".")
	if err := k.Load(confmap.Provider(all, "."), nil); err != nil {
		return nil, err
	}
	return k.Marshal(yaml.Parser())
}

// yamlValue is a flag's value as YAML writes it.
func yamlValue(f *flag.Flag) any {
	if l, ok := f.Value.(*list); ok {
		return []string(*l)
	}
	if getter, ok := f.Value.(flag.Getter); ok && getter.Get() != nil {
		return getter.Get()
	}
	return f.Value.String()
}

// mask hides the secrets of webhooks, wherever they stand.
func mask(value any) any {
	switch v := value.(type) {
	case map[string]any:
		for name, inner := range v {
			text, isText := inner.(string)
			path, _, hasQuery := strings.Cut(text, "?")
			switch {
			case name == "secret" || name == "headers":
				v[name] = "********"
			case name == "url" && isText && hasQuery:
				v[name] = path + "?********"
			default:
				v[name] = mask(inner)
			}
		}
	case []any:
		for i := range v {
			v[i] = mask(v[i])
		}
	}
	return value
}
