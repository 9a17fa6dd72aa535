package main

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// notSettings are flags of serve that are ways to run it.
var notSettings = []string{"dev", "config-file"}

// Every flag is a setting with a key of its own, and every key is one of a flag.
func TestSettingKeys(t *testing.T) {
	t.Parallel()
	var cfg config
	fs := flag.NewFlagSet("serve", flag.ContinueOnError)
	cfg.flags(fs)
	found := map[string]bool{}
	fs.VisitAll(func(f *flag.Flag) {
		if f.Name != notSettings[0] && f.Name != notSettings[1] {
			if settingKeys[f.Name] == "" {
				t.Errorf("--%s has no key", f.Name)
			}
			found[f.Name] = true
		}
	})
	for name := range settingKeys {
		if !found[name] {
			t.Errorf("%s is the key of --%s, which is not there", settingKeys[name], name)
		}
	}
	if got, want := len(keyFlags()), len(settingKeys); got != want {
		t.Errorf("%d keys for %d flags", got, want)
	}
	for name := range secrets {
		if settingKeys[name] == "" {
			t.Errorf("--%s is a secret, and no setting", name)
		}
	}
}

// write puts a configuration file somewhere.
func write(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "event-bus.yaml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestConfigFile(t *testing.T) {
	t.Parallel()
	name := write(t, `
server:
  websocketPort: 4003
  drain: 5000
redis:
  host: redis.example
websocket:
  corsOrigins: [https://app.example, https://b.example]
  pingTimeout: 30s
security:
  jwt: {secret: 0123456789abcdef0123456789abcdef}
  rateLimit: {windowMs: 60000, maxRequests: 7}
  channelAccess:
    photo:upload: {publish: [uploader]}
monitoring: {logging: {level: warn}}
resilience:
  maxRetries: {timeout: 9}
  baseRetryDelay: {default: 250}
filters:
  - {id: no-deleted, type: exclude, conditions: [{field: type, operator: eq, value: photo.deleted}], action: {type: drop}}
`)
	code, out, err := runToEnd(t, "", "check-config", "--config-file", name, "--print", "--rate-limit-max", "8")
	if code != 0 {
		t.Fatalf("got %d: %s", code, err)
	}
	for _, want := range []string{
		"websocketPort: 4003", "drain: 5s", "host: redis.example", "- https://b.example", "pingTimeout: 30s", "secret: '********'",
		"windowMs: 1m0s", "maxRequests: 8", "level: warn", "timeout: 9", "default: 250", "id: no-deleted", "- uploader",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in\n%s", want, out)
		}
	}
	if strings.Contains(out, "0123456789abcdef") {
		t.Errorf("the secret is printed:\n%s", out)
	}
}

// What is printed is itself a configuration file, but for what is masked.
func TestPrintedConfigIsOne(t *testing.T) {
	t.Parallel()
	name := write(t, "redis: {host: redis.example}\nsecurity: {jwt: {keyFile: "+filepath.Join(t.TempDir(), "none.pem")+"}}\n")
	_, out, _ := runToEnd(t, "", "check-config", "--config-file", name, "--print")
	again := write(t, out)
	code, twice, err := runToEnd(t, "", "check-config", "--config-file", again, "--print")
	if code != 0 || twice != out {
		t.Errorf("got %d, %s, and\n%s\nwant\n%s", code, err, twice, out)
	}
}

func TestConfigFileTellsAllThatIsWrong(t *testing.T) {
	t.Parallel()
	name := write(t, `
server:
  websocketPort: many
  webSocketHost: here
redis: {host: redis.example, port: [1, 2]}
websocket: nonsense
security:
  jwt: {secret: 0123456789abcdef0123456789abcdef, onExpiry: explode}
  eventValidation: {photo.deleted: [{name: x, type: guess}]}
metrics: {}
filters:
  - {id: a, type: exclude, conditions: [{field: id, operator: like, value: x}], action: {type: drop}}
subscriptions:
  - {id: hook, channel: nowhere, webhook: {url: "ftp://x"}}
`)
	code, out, err := runToEnd(t, "", "check-config", "--config-file", name)
	if code != 2 || out != "" {
		t.Errorf("got %d and %q, want 2 and nothing", code, out)
	}
	for _, want := range []string{
		`server.websocketPort: "many" is not valid: want a whole number`, "server.webSocketHost: is not known; did you mean server.websocketHost?",
		"redis.port: want one value, not a list", "websocket: want keys below it, such as", "metrics: is not known",
	} {
		if !strings.Contains(err, want) {
			t.Errorf("%q is missing in\n%s", want, err)
		}
	}
	// Once the file can be read, what it says is judged as a whole.
	fixed := write(t, `
redis: {host: redis.example}
security:
  jwt: {secret: 0123456789abcdef0123456789abcdef, onExpiry: explode}
  eventValidation: {photo.deleted: [{name: x, type: guess}]}
filters:
  - {id: a, type: exclude, conditions: [{field: id, operator: like, value: x}], action: {type: drop}}
resilience: {deadLetter: {maxSize: -1}}
`)
	code, _, err = runToEnd(t, "", "check-config", "--config-file", fixed)
	if code != 2 {
		t.Errorf("got %d, want 2", code)
	}
	for _, want := range []string{
		`onExpiry: "explode"`, `want schema, permission, rate_limit or content`, `operator: "like"`, "maxSize -1",
	} {
		if !strings.Contains(err, want) {
			t.Errorf("%q is missing in\n%s", want, err)
		}
	}
	for _, bad := range []string{filepath.Join(t.TempDir(), "none.yaml"), write(t, "a: [")} {
		if code, _, err := runToEnd(t, "", "check-config", "--config-file="+bad); code != 2 || !strings.Contains(err, "CONFIG_FILE") {
			t.Errorf("%s: got %d, %s", bad, code, err)
		}
	}
}
