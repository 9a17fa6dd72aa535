package deploy

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// promtool runs Prometheus's own checker, from Debian's package prometheus.
func promtool(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "promtool", args...)
	cmd.Dir = filepath.Join(root, "deploy", "prometheus")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func TestPromtool(t *testing.T) {
	t.Parallel()
	promtool(t, "check", "config", "prometheus.yml")
	promtool(t, "check", "rules", "alerts.yml")
	promtool(t, "test", "rules", "alerts_test.yml")
}

type alertRules struct {
	Groups []struct {
		Rules []struct {
			Alert, Expr string
			Labels      map[string]string
			Annotations map[string]string
		}
	}
}

// Each alert says how bad it is and what to do, and has a test that it fires and one that it does not.
func TestAlerts(t *testing.T) {
	t.Parallel()
	var rules alertRules
	decode(t, read(t, "deploy/prometheus/alerts.yml"), &rules)
	var tests struct{ Tests []struct{ Name string } }
	decode(t, read(t, "deploy/prometheus/alerts_test.yml"), &tests)
	var got, want []string
	for _, test := range tests.Tests {
		got = append(got, test.Name)
	}
	for _, rule := range rules.Groups[0].Rules {
		want = append(want, rule.Alert, rule.Alert+", quiet")
		knownMetrics(t, rule.Alert, rule.Expr)
		if s := rule.Labels["severity"]; s != "critical" && s != "warning" {
			t.Errorf("%s: severity %q", rule.Alert, s)
		}
		if rule.Annotations["summary"] == "" || rule.Annotations["description"] == "" {
			t.Errorf("%s says nothing", rule.Alert)
		}
	}
	exactly(t, "tests of alerts", got, want)
}

// knownMetrics complains about metrics in an expression that the reference does not have.
func knownMetrics(t *testing.T, where, expr string) {
	t.Helper()
	known := submatches("(?m)^\\| `(eventbus_[a-z_]+)` \\|", read(t, "docs/metrics.md"))
	for _, name := range slices.Compact(slices.Sorted(slices.Values(submatches(`\b(eventbus_[a-z_]+)`, expr)))) {
		base := name
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			base = strings.TrimSuffix(base, suffix)
		}
		if !slices.Contains(known, name) && !slices.Contains(known, base) {
			t.Errorf("%s: docs/metrics.md has no metric %s", where, name)
		}
	}
}

type panel struct {
	ID          int
	Type, Title string
	GridPos     struct{ H, W, X, Y int }
	Targets     []struct{ Expr string }
	Description string
	Datasource  struct{ UID string }
}

// The dashboard asks for metrics that exist, in PromQL that Prometheus reads, and no panel lies over another.
func TestDashboard(t *testing.T) {
	t.Parallel()
	var dashboard struct {
		UID, Title  string
		Panels      []panel
		Annotations struct{ List []struct{ Expr string } }
		Templating  struct {
			List []struct{ Name, Definition string }
		}
	}
	if err := json.Unmarshal([]byte(read(t, "deploy/grafana/event-bus.json")), &dashboard); err != nil {
		t.Fatal(err)
	}
	if dashboard.UID == "" || len(dashboard.Panels) < 10 {
		t.Fatalf("uid %q, %d panels", dashboard.UID, len(dashboard.Panels))
	}
	var exprs []string
	for _, a := range dashboard.Annotations.List {
		exprs = append(exprs, a.Expr)
	}
	for _, v := range dashboard.Templating.List {
		knownMetrics(t, "variable "+v.Name, v.Definition)
	}
	ids, cells := map[int]bool{}, map[[2]int]string{}
	for _, p := range dashboard.Panels {
		if ids[p.ID] {
			t.Errorf("id %d twice", p.ID)
		}
		ids[p.ID] = true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := cells[[2]int{x, y}]; other != "" || x >= 24 {
					t.Fatalf("%s lies over %s, or beside the page", p.Title, other)
				}
				cells[[2]int{x, y}] = p.Title
			}
		}
		if p.Type == "row" {
			continue
		}
		if p.Description == "" || p.Datasource.UID != "${datasource}" || len(p.Targets) == 0 {
			t.Errorf("%s: no description, no target, or a data source of its own", p.Title)
		}
		for _, target := range p.Targets {
			knownMetrics(t, p.Title, target.Expr)
			exprs = append(exprs, target.Expr)
		}
	}

	// Prometheus reads them as recording rules.
	type rule struct {
		Record string `json:"record"`
		Expr   string `json:"expr"`
	}
	var rules []rule
	for i, expr := range exprs {
		expr = strings.NewReplacer("$__rate_interval", "5m", "$job", "j", "$instance", "i").Replace(expr)
		rules = append(rules, rule{fmt.Sprintf("dashboard:%d", i), expr})
	}
	file, err := yaml.Marshal(map[string]any{"groups": []any{map[string]any{"name": "dashboard", "rules": rules}}})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "rules.yml")
	write(t, path, string(file))
	promtool(t, "check", "rules", path)
}
