package main

import (
	"bytes"
	"errors"
	"flag"
	"math"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/photo-management/event-bus/scaling"
)

// inCluster are the flags that a pod needs, where the test is none.
var inCluster = []string{"--kubernetes-url=https://kubernetes.default.svc", "--namespace=photos", "--cpu-limit=500m", "--memory-limit=512Mi"}

func TestReadConfig(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
	t.Setenv("KUBERNETES_SERVICE_PORT", "443")
	t.Setenv("AUTOSCALER_NAMESPACE", "photos")
	t.Setenv("AUTOSCALER_CPU_LIMIT", "500m")
	t.Setenv("AUTOSCALER_MEMORY_LIMIT", "512Mi")
	t.Setenv("AUTOSCALER_MAX_REPLICAS", "20")
	t.Setenv("AUTOSCALER_METRICS_URL", "http://a:3004/metrics, http://b:3004/metrics")
	t.Setenv("AUTOSCALER_DRY_RUN", "true")
	t.Setenv("AUTOSCALER_LOG_LEVEL", "debug")
	t.Setenv("AUTOSCALER_LISTEN", "") // as if it were not set
	cfg, err := readConfig([]string{"--max-replicas=8", "--scale-up-cpu", "60"}, &bytes.Buffer{})
	if err != nil {
		t.Fatal(err)
	}
	if got := cfg.kubernetes.url; got != "https://[fd00::1]:443" {
		t.Errorf("the API is %s", got)
	}
	if want := (scaling.Limits{MinReplicas: 2, MaxReplicas: 8, ScaleUp: scaling.Usage{CPU: 60, Memory: 80, ConnectionsPerPod: 5000}}); cfg.limits != want {
		t.Errorf("got %+v, want %+v", cfg.limits, want)
	}
	if want := (scaling.Damping{DownAfter: 20, UpCooldown: time.Minute, DownCooldown: 5 * time.Minute}); cfg.damping != want {
		t.Errorf("got %+v, want %+v", cfg.damping, want)
	}
	if cfg.metrics.cpuLimit != 0.5 || cfg.metrics.memoryLimit != 512<<20 || strings.Join(cfg.metrics.urls, " ") != "http://a:3004/metrics http://b:3004/metrics" {
		t.Errorf("got %+v", cfg.metrics)
	}
	if !cfg.dryRun || cfg.logLevel.String() != "debug" || cfg.listen != "" || cfg.interval != 30*time.Second || cfg.wait != 5*time.Minute || cfg.poll != 10*time.Second {
		t.Errorf("got %+v", cfg)
	}
}

func TestReadConfigRefuses(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	for name, test := range map[string]struct {
		args []string
		want []string
	}{
		"nothing set": {nil, []string{
			"kubernetes-url is not set", `namespace is "": want the name`,
			"cpu-limit is not set: want the CPU limit of a replica, such as 500m, or scale-up-cpu=-1", "memory-limit is not set",
		}},
		"no numbers": {append([]string{"--interval=x"}, inCluster...), []string{`invalid value "x" for flag -interval`}},
		"times": {append([]string{"--interval=1ms", "--wait=1s", "--poll=5s"}, inCluster...), []string{
			"interval is 1ms: want 1s to 1h", "wait is 1s: want poll (5s) to 1h",
		}},
		"limits":     {append([]string{"--min-replicas=9", "--max-replicas=3", "--scale-down-cpu=90"}, inCluster...), []string{"maxReplicas is 3: want minReplicas (9)", "scaleDown.cpu is 90: want less than scaleUp.cpu (70)"}},
		"damping":    {append([]string{"--scale-down-after=-1"}, inCluster...), []string{"scaleDown.after is -1"}},
		"quantities": {append([]string{"--cpu-limit=half"}, inCluster...), []string{`invalid value "half" for flag -cpu-limit: want a number above 0`}},
		"addresses": {append(inCluster, "--kubernetes-url=http://kubernetes", "--metrics-url=ftp://a,:3004,http://u:secret@b/", "--listen=8080"), []string{
			"kubernetes-url is not https", "metrics-url is not http or https", "metrics-url is not an address", "metrics-url has a user in it", `listen is "8080": want host:port`,
		}},
		"no metrics":  {append(inCluster, "--metrics-url=,"), []string{"metrics-url is not set"}},
		"names":       {append(inCluster, "--namespace=../../secrets", "--deployment=Event/Bus"), []string{`namespace is "../../secrets"`, `deployment is "Event/Bus"`}},
		"an argument": {append(inCluster, "now"), []string{`unexpected argument "now"`}},
		"a flag":      {append(inCluster, "--replicas=3"), []string{"flag provided but not defined: -replicas"}},
	} {
		_, err := readConfig(test.args, &bytes.Buffer{})
		if !errors.As(err, new(usageError)) {
			t.Errorf("%s: got %v", name, err)
			continue
		}
		wantError(t, err, test.want...)
		if n := len(strings.Split(err.Error(), "\n")); n != len(test.want) || strings.Contains(err.Error(), "secret@") {
			t.Errorf("%s: %d problems, want %d:\n%v", name, n, len(test.want), err)
		}
	}
	cfg, err := readConfig(append(inCluster[:2:2], "--scale-up-cpu=-1", "--scale-up-memory=-1"), &bytes.Buffer{})
	if err != nil || cfg.metrics.cpuLimit != 0 {
		t.Errorf("by connections alone: %v", err)
	}
}

func TestHelp(t *testing.T) {
	t.Parallel()
	var out, errOut bytes.Buffer
	if code := run(t.Context(), []string{"--help"}, stdio{&out, &errOut}); code != 0 || errOut.Len() > 0 {
		t.Errorf("code %d, %s", code, errOut.String())
	}
	new(config).flags(&out).VisitAll(func(f *flag.Flag) {
		if !strings.Contains(out.String(), "  -"+f.Name) {
			t.Errorf("%s is not listed", f.Name)
		}
	})
	if code := run(t.Context(), []string{"--nonsense"}, stdio{&out, &errOut}); code != 2 || !strings.Contains(errOut.String(), "eventbus-autoscaler: flag provided but not defined: -nonsense") {
		t.Errorf("code %d, %s", code, errOut.String())
	}
}

func TestQuantity(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]float64{"500m": 0.5, "2": 2, "0.25": 0.25, "512Mi": 512 << 20, "1Gi": 1 << 30, "128Ki": 128 << 10, "1k": 1000, "2M": 2e6, "1.5G": 1.5e9, "1T": 1e12, "1Ti": 1 << 40, "1e9": 1e9} {
		var q quantity
		if err := q.Set(s); err != nil || math.Abs(float64(q)-want) > 1e-9 {
			t.Errorf("%s: got %g, %v, want %g", s, float64(q), err, want)
		}
	}
	for _, s := range []string{"", "m", "0", "-1", "0m", "NaN", "Inf", "1 Gi", "5Zi", "0x10", "1_000", "1e400", "1e308T", "500mm"} {
		q := quantity(7)
		if err := q.Set(s); err == nil || q != 7 {
			t.Errorf("%q: got %g", s, float64(q))
		}
	}
}

// The manifest sets what there is, to what is taken.
func TestManifest(t *testing.T) {
	manifest, err := os.ReadFile("../../deploy/kubernetes/autoscaler.yaml")
	if err != nil {
		t.Fatal(err)
	}
	flags := map[string]bool{}
	new(config).flags(&bytes.Buffer{}).VisitAll(func(f *flag.Flag) { flags[envName(f.Name)] = true })
	set := regexp.MustCompile(`- name: (AUTOSCALER_\w+)\n +value: "?([^"\n]+)"?\n`).FindAllStringSubmatch(string(manifest), -1)
	if len(set) < 5 {
		t.Fatalf("found only %v", set)
	}
	t.Setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
	t.Setenv("KUBERNETES_SERVICE_PORT", "443")
	t.Setenv("AUTOSCALER_NAMESPACE", "photos") // in a pod, from a file
	for _, s := range set {
		if !flags[s[1]] {
			t.Errorf("there is no %s", s[1])
		}
		t.Setenv(s[1], s[2])
	}
	cfg, err := readConfig(nil, &bytes.Buffer{})
	if err != nil {
		t.Fatal(err)
	}
	if cfg.metrics.cpuLimit != 0.5 || cfg.metrics.memoryLimit != 512<<20 || cfg.listen != ":8080" || cfg.metrics.urls[0] != defaultMetricsURL {
		t.Errorf("got %+v", cfg)
	}
}
