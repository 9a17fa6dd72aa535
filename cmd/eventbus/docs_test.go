package main

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/photo-management/event-bus/adapter"
)

var update = flag.Bool("update", false, "write the references in docs instead of comparing them")

// reference holds a page that is made from code against the one in docs.
func reference(t *testing.T, name string, want []byte) {
	t.Helper()
	path := "../../docs/" + name
	if *update {
		if err := os.WriteFile(path, want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(path)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s is stale (%v): run go test ./cmd/eventbus -run Reference -update", path, err)
	}
}

// sectionDocs say of the sections of the configuration file, which are no flags, what they are.
var sectionDocs = map[string]string{
	"routing.rules":             "rules by channel: who hears the events of a channel; these are the channels there are. See [Rules](events.md#rules)",
	"filters":                   "filters, in their order. See [Filters](events.md#filters)",
	"subscriptions":             "webhooks. See [Webhooks](events.md#webhooks)",
	"events.types":              "event types of your own, and further versions of types, with their JSON Schemas. See [Event types](events.md#event-types)",
	"events.unknown":            "what becomes of events of types that nobody has declared: allow (the default) or refuse",
	"security.channelAccess":    "roles that may publish on a channel, or subscribe to it: `{photo:upload: {publish: [uploader], subscribe: [auditor]}}`",
	"security.eventValidation":  "validators by event type. See [Validators](events.md#validators)",
	"scaling":                   "what `/api/v1/analysis` measures and recommends by: interval and keep (ms), and thresholds maxLatency, maxHandlerLatency (ms), maxErrorRate, maxHandlerErrorRate (parts of 1), maxDeadLetters, maxSlowClients (per minute), maxChurn (parts of the connections per minute), maxCpu, maxMemory (percent), minSamples, cpuLimit (cores), memoryLimit (bytes)",
	"resilience.maxRetries":     "attempts to deliver an event, the first included, by category of error: timeout, network, rate_limit, unknown, default",
	"resilience.baseRetryDelay": "milliseconds before the second attempt, by category; each further one waits twice as long",
	"resilience.maxRetryDelay":  "milliseconds that an attempt waits at most, by category",
}

// The configuration reference has every setting, as it is.
func TestConfigurationReference(t *testing.T) {
	var cfg config
	fs := flag.NewFlagSet("serve", flag.ContinueOnError)
	cfg.flags(fs)
	var page bytes.Buffer
	page.WriteString(`# Configuration reference

Made from code: ` + "`go test ./cmd/eventbus -run Reference -update`" + `. How the settings work together is in [For operators](operators.md).

Every setting is a key of the configuration file (` + "`--config-file`, `CONFIG_FILE`" + `: YAML), an environment variable and a flag of
` + "`eventbus serve`" + `; the environment wins over the file, and flags over both. In the file, a time is a text like ` + "`30s`" + ` or a number of
milliseconds. ` + "`eventbus check-config`" + ` reports everything that is wrong, and with ` + "`--print`" + ` what is in force, secrets masked. On SIGHUP
those marked * are read again, and so are rules, filters, subscriptions, event types and validators.

| Key | Variable | Default | |
|---|---|---|---|
`)
	byKey := keyFlags()
	for _, key := range slices.Sorted(func(yield func(string) bool) {
		for key := range byKey {
			if !yield(key) {
				return
			}
		}
	}) {
		f := fs.Lookup(byKey[key])
		star := ""
		if slices.Contains(reloadable, f.Name) {
			star = " *"
		}
		fmt.Fprintf(&page, "| `%s`%s | `%s` | %s | %s |\n", key, star, envName(f.Name), strings.ReplaceAll(f.DefValue, "|", "\\|"), strings.ReplaceAll(f.Usage, "|", "\\|"))
	}
	for _, key := range slices.Sorted(maps.Keys(aliasKeys)) {
		fmt.Fprintf(&page, "\n`%s` is another name of `%s`.\n", key, settingKeys[aliasKeys[key]])
	}
	page.WriteString("\nWithout variables, in the file alone:\n\n| Key | |\n|---|---|\n")
	for _, key := range slices.Sorted(slices.Values(sectionKeys)) {
		if sectionDocs[key] == "" {
			t.Errorf("%s is not described", key)
		}
		fmt.Fprintf(&page, "| `%s` | %s |\n", key, sectionDocs[key])
	}
	if len(sectionDocs) != len(sectionKeys) {
		t.Errorf("%d sections are described, and there are %d", len(sectionDocs), len(sectionKeys))
	}
	reference(t, "configuration.md", page.Bytes())
}

// The metrics reference has every metric of ours, with its labels.
func TestMetricsReference(t *testing.T) {
	var cfg config
	fs := flag.NewFlagSet("serve", flag.ContinueOnError)
	cfg.flags(fs)
	embedded, err := adapter.StartEmbedded("")
	if err != nil {
		t.Fatal(err)
	}
	defer embedded.Close()
	redis, err := adapter.DialRedis(t.Context(), adapter.RedisConfig{URL: "redis://" + embedded.Addr()}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	defer redis.Close()
	registry := &described{}
	cfg.jwtSecret, cfg.redis.Host = strings.Repeat("s", 32), "redis.example"
	if err := cfg.check(); err != nil {
		t.Fatal(err)
	}
	if _, err := newReplica(t.Context(), cfg, redis, &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}, registry, nil, zap.NewAtomicLevel(), zap.NewNop()); err != nil {
		t.Fatal(err)
	}
	slices.Sort(registry.rows)
	page := `# Metrics reference

Made from code: ` + "`go test ./cmd/eventbus -run Reference -update`" + `. They are served at ` + "`/metrics`" + ` on the health port, with the usual ones of the Go
runtime and the process. What to watch, and what failures look like in them, is in [For operators](operators.md). Label values
come from short lists: event types that nobody has declared are ` + "`other`" + `.

| Name | Labels | |
|---|---|---|
` + strings.Join(slices.Compact(registry.rows), "\n") + "\n"
	reference(t, "metrics.md", []byte(page))
}

// described is a registry that writes down what metrics say of themselves, those without values too.
type described struct{ rows []string }

var descOf = regexp.MustCompile(`fqName: "([^"]+)", help: "((?:[^"\\]|\\.)*)", unit: "[^"]*", constLabels: \{([^}]*)\}, variableLabels: \{([^}]*)\}`)

func (d *described) Register(c prometheus.Collector) error {
	descs := make(chan *prometheus.Desc, 10)
	c.Describe(descs)
	close(descs)
	for desc := range descs {
		found := descOf.FindStringSubmatch(desc.String())
		var labels []string
		for _, pair := range strings.Split(found[3], ",") {
			if name, _, ok := strings.Cut(pair, "="); ok {
				labels = append(labels, "`"+name+"`")
			}
		}
		for _, name := range strings.Split(found[4], ",") {
			if name != "" {
				labels = append(labels, "`"+name+"`")
			}
		}
		d.rows = append(d.rows, fmt.Sprintf("| `%s` | %s | %s |", found[1], strings.Join(labels, ", "), strings.ReplaceAll(found[2], "|", "\\|")))
	}
	return nil
}

func (d *described) MustRegister(cs ...prometheus.Collector) {
	for _, c := range cs {
		_ = d.Register(c)
	}
}

func (*described) Unregister(prometheus.Collector) bool { return false }
