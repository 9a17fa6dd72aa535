package deploy

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"helm.sh/helm/v3/pkg/lint"
	"helm.sh/helm/v3/pkg/lint/support"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

var chartDir = filepath.Join(root, "deploy", "helm", "event-bus")

// render is helm template: the documents, and the notes.
func render(t *testing.T, values string) (documents, notes string, err error) {
	t.Helper()
	c, err := loader.Load(chartDir)
	if err != nil {
		t.Fatal(err)
	}
	given, err := chartutil.ReadValues([]byte(values))
	if err != nil {
		t.Fatal(err)
	}
	release := chartutil.ReleaseOptions{Name: "events", Namespace: "photos", Revision: 1, IsInstall: true}
	all, err := chartutil.ToRenderValues(c, given, release, chartutil.DefaultCapabilities)
	if err != nil {
		return "", "", err
	}
	files, err := engine.Engine{Strict: true}.Render(c, all)
	if err != nil {
		return "", "", err
	}
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(files)) {
		switch text := files[name]; {
		case strings.HasSuffix(name, "NOTES.txt"):
			notes = text
		case strings.TrimSpace(text) != "":
			parts = append(parts, text)
		}
	}
	return strings.Join(parts, "\n---\n"), notes, nil
}

func TestChart(t *testing.T) {
	t.Parallel()
	base := []string{"ConfigMap", "Deployment", "NetworkPolicy", "PodDisruptionBudget", "Service", "ServiceAccount"}
	for name, test := range map[string]struct {
		values  string
		want    []string // kinds beside the base's
		has     []string // texts
		without string   // a kind of the base's
	}{
		"existing secret": {
			`{secret: {existing: mine}}`,
			[]string{"HorizontalPodAutoscaler"},
			[]string{"image: photo-management/event-bus-service:latest", "checksum/config:", "name: mine"},
			"",
		},
		"own secret": {
			`{secret: {jwtSecret: "0123456789012345678901234567890123", redisPassword: "p: \"w\""}}`,
			[]string{"HorizontalPodAutoscaler", "Secret"},
			[]string{"checksum/secret:", `REDIS_PASSWORD: "p: \"w\""`},
			"",
		},
		"keys by address, no secret": {
			`{env: {JWT_JWKS_URL: "https://id.example.com/keys", MAX_QUEUE: "4194304"}, redis: {tls: true, db: 3, username: bus}}`,
			[]string{"HorizontalPodAutoscaler"},
			[]string{`value: "4194304"`, `value: "true"`, "REDIS_USERNAME"},
			"",
		},
		"no autoscaling, little else": {
			`{secret: {existing: mine}, autoscaling: {kind: none}, replicaCount: 5, podDisruptionBudget: {enabled: true, maxUnavailable: "25%"},
			  serviceAccount: {create: false}, advertiseAddr: "", goMemLimit: "", fullnameOverride: "", service: {type: LoadBalancer}, redis: {host: ""}}`,
			[]string{},
			[]string{"replicas: 5", "name: events-event-bus", "serviceAccountName: default"},
			"ServiceAccount",
		},
		"everything": {
			`{secret: {existing: mine}, image: {tag: "1.2.3"}, imagePullSecrets: [{name: registry}], drainSeconds: 60, priorityClassName: high,
			  autoscaling: {kind: keda, connections: 8000}, ingress: {enabled: true, hosts: [events.example.com], tlsSecret: tls},
			  networkPolicy: {from: [{namespaceSelector: {matchLabels: {team: photos}}}]}, podAnnotations: {a: b}, podLabels: {team: photos},
			  monitoring: {podMonitor: {enabled: true, labels: {release: prometheus}}, rules: {enabled: true}, dashboard: {enabled: true}},
			  config: {}, env: {LOG_LEVEL: debug}, extraEnv: [{name: REPLICA_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}],
			  nodeSelector: {kubernetes.io/arch: arm64}, tolerations: [{operator: Exists}], affinity: {nodeAffinity: {}},
			  topologySpreadConstraints: [{maxSkew: 2, topologyKey: zone, whenUnsatisfiable: DoNotSchedule}],
			  extraVolumes: [{name: keys, secret: {secretName: keys}}], extraVolumeMounts: [{name: keys, mountPath: /keys, readOnly: true}]}`,
			[]string{"ConfigMap", "Ingress", "PodMonitor", "PrometheusRule", "ScaledObject"},
			[]string{"event-bus-service:1.2.3", "terminationGracePeriodSeconds: 85", "alert: EventBusDown", `threshold: "8000"`, `namespace="photos"`, `grafana_dashboard: "1"`},
			"",
		},
		"digest": {
			`{secret: {existing: mine}, image: {digest: "sha256:` + strings.Repeat("a", 64) + `"}}`,
			[]string{"HorizontalPodAutoscaler"},
			[]string{"event-bus-service@sha256:aaaa"},
			"",
		},
		"without what can be left out": {
			`{secret: {existing: mine}, podDisruptionBudget: {enabled: false}, networkPolicy: {enabled: true, monitoringNamespace: ""}}`,
			[]string{"HorizontalPodAutoscaler"},
			nil,
			"PodDisruptionBudget",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			documents, notes, err := render(t, test.values)
			if err != nil {
				t.Fatal(err)
			}
			m := parse(t, documents)
			want := slices.DeleteFunc(slices.Concat(base, test.want), func(kind string) bool { return kind == test.without })
			var got []string
			for kind, n := range m.kinds() {
				got = append(got, slices.Repeat([]string{kind}, n)...)
			}
			if got, want := slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want)); !slices.Equal(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
			m.check(t, "mine")
			for _, text := range test.has {
				if !strings.Contains(documents, text) {
					t.Errorf("%q is nowhere in\n%s", text, documents)
				}
			}
			if !strings.Contains(notes, "deployment/"+m.deployment.Name) || strings.Contains(notes, "<no value>") {
				t.Errorf("notes:\n%s", notes)
			}
			for _, message := range lintChart(t, test.values) {
				t.Error(message)
			}
		})
	}
}

// lintChart is helm lint: what it warns of.
func lintChart(t *testing.T, values string) []string {
	t.Helper()
	given, err := chartutil.ReadValues([]byte(values))
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, m := range lint.AllWithKubeVersionAndSchemaValidation(chartDir, given, "photos", nil, false).Messages {
		if m.Severity >= support.WarningSev {
			found = append(found, m.Error())
		}
	}
	return found
}

// What would give a service that does not start, or not as meant, is refused with a word that says why.
func TestChartRefuses(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ values, want string }{
		"no way to verify tokens":        {`{}`, "tokens could not be verified"},
		"a short secret":                 {`{secret: {jwtSecret: short}}`, "jwtSecret"},
		"an unknown value":               {`{secret: {existing: mine}, replicas: 3}`, "replicas"},
		"an unknown autoscaler":          {`{secret: {existing: mine}, autoscaling: {kind: both}}`, "kind"},
		"a number in env":                {`{secret: {existing: mine}, env: {MAX_QUEUE: 4194304}}`, "MAX_QUEUE"},
		"a variable that the chart sets": {`{secret: {existing: mine}, env: {DRAIN_TIMEOUT: 60s}}`, "DRAIN_TIMEOUT"},
		"a secret in env":                {`{secret: {existing: mine}, env: {JWT_SECRET: s}}`, "JWT_SECRET"},
		"an ingress without hosts":       {`{secret: {existing: mine}, ingress: {enabled: true}}`, "ingress.hosts"},
		"more at least than at most":     {`{secret: {existing: mine}, autoscaling: {minReplicas: 20}}`, "minReplicas"},
		"an autoscaler without measure":  {`{secret: {existing: mine}, autoscaling: {cpu: 0, memory: 0}}`, "autoscaling.cpu"},
		"KEDA without measure":           {`{secret: {existing: mine}, autoscaling: {kind: keda, cpu: 0, connections: 0}}`, "autoscaling.connections"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, _, err := render(t, test.values); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error about %q", err, test.want)
			}
		})
	}
}

// A change of the configuration rolls the pods, and what is mounted is what was given.
func TestChartConfig(t *testing.T) {
	t.Parallel()
	var sums []string
	for _, values := range []string{`{secret: {existing: mine}}`, `{secret: {existing: mine}, config: {monitoring: {logging: {level: warn}}}}`} {
		documents, _, err := render(t, values)
		if err != nil {
			t.Fatal(err)
		}
		sums = append(sums, submatches(`checksum/config: (\w+)`, documents)...)
		var mounted corev1.ConfigMap
		decode(t, parse(t, documents).objects["ConfigMap/event-bus-service-config"], &mounted)
		var given struct{ Config map[string]any }
		decode(t, values, &given)
		var got map[string]any
		decode(t, mounted.Data["config.yaml"], &got)
		a, _ := yaml.Marshal(given.Config)
		b, _ := yaml.Marshal(got)
		if len(given.Config) > 0 && string(a) != string(b) {
			t.Errorf("given %s, mounted %s", a, b)
		}
		path := filepath.Join(t.TempDir(), "config.yaml")
		write(t, path, mounted.Data["config.yaml"])
		checkConfig(t, path)
	}
	if len(sums) != 2 || sums[0] == sums[1] {
		t.Errorf("checksums %v", sums)
	}
}

// The plain manifests and the chart say the same, up to names of labels and where the secret comes from.
func TestChartIsLikeTheManifests(t *testing.T) {
	t.Parallel()
	documents, _, err := render(t, `{secret: {existing: event-bus-secrets}}`)
	if err != nil {
		t.Fatal(err)
	}
	chart, plain := parse(t, documents).deployment.Spec.Template.Spec, parse(t, build(t, "base")).deployment.Spec.Template.Spec
	a, b := chart.Containers[0], plain.Containers[0]
	for what, pair := range map[string][2]any{
		"probes":    {[]any{a.StartupProbe, a.LivenessProbe, a.ReadinessProbe}, []any{b.StartupProbe, b.LivenessProbe, b.ReadinessProbe}},
		"resources": {a.Resources, b.Resources},
		"ports":     {a.Ports, b.Ports},
		"security":  {[]any{chart.SecurityContext, a.SecurityContext}, []any{plain.SecurityContext, b.SecurityContext}},
		"image":     {a.Image, b.Image},
		"grace":     {chart.TerminationGracePeriodSeconds, plain.TerminationGracePeriodSeconds},
	} {
		x, _ := yaml.Marshal(pair[0])
		y, _ := yaml.Marshal(pair[1])
		if string(x) != string(y) {
			t.Errorf("%s: the chart has\n%s\nthe manifests have\n%s", what, x, y)
		}
	}
}

// The README of the chart has every value, and no other; so has its schema.
func TestChartValuesAreDocumented(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(chartDir, "values.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var values map[string]any
	decode(t, string(text), &values)
	// Maps that are passed on as they are, not looked into.
	whole := regexp.MustCompile(`^(resources|ingress\.annotations|autoscaling\.behavior\.\w+|monitoring\.dashboard\.labels)$`)
	var want []string
	var walk func(path string, v any)
	walk = func(path string, v any) {
		if m, ok := v.(map[string]any); ok && len(m) > 0 && !whole.MatchString(path) {
			for key, value := range m {
				walk(strings.TrimPrefix(path+"."+key, "."), value)
			}
			return
		}
		want = append(want, path)
	}
	walk("", values)
	exactly(t, "README", submatches("(?m)^\\| `([\\w.]+)` \\|", read(t, "deploy/helm/event-bus/README.md")), want)

	var schema struct{ Properties map[string]any }
	decode(t, read(t, "deploy/helm/event-bus/values.schema.json"), &schema)
	delete(schema.Properties, "global") // Helm's own
	exactly(t, "schema", slices.Collect(maps.Keys(schema.Properties)), slices.Collect(maps.Keys(values)))
}
