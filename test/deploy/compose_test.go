package deploy

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
	"sigs.k8s.io/yaml"
)

func loadCompose(t *testing.T, env map[string]string, profiles ...string) (*types.Project, error) {
	t.Helper()
	dir, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	return loader.LoadWithContext(t.Context(), types.ConfigDetails{
		WorkingDir:  dir,
		ConfigFiles: []types.ConfigFile{{Filename: filepath.Join(dir, "docker-compose.yml")}},
		Environment: env,
	}, func(o *loader.Options) { o.Profiles = profiles })
}

func TestComposeNeedsASecret(t *testing.T) {
	t.Parallel()
	for _, env := range []map[string]string{nil, {"JWT_SECRET": ""}} {
		if _, err := loadCompose(t, env); err == nil || !strings.Contains(err.Error(), "JWT_SECRET") {
			t.Errorf("with %v: got %v, want an error that names JWT_SECRET", env, err)
		}
	}
}

func TestCompose(t *testing.T) {
	t.Parallel()
	env := map[string]string{"JWT_SECRET": strings.Repeat("s", 32), "REDIS_PASSWORD": "a password"}
	plain, err := loadCompose(t, env)
	if err != nil {
		t.Fatal(err)
	}
	exactly(t, "services", slices.Collect(maps.Keys(plain.Services)), []string{"redis", "eventbus-1", "eventbus-2", "nginx", "prometheus"})
	project, err := loadCompose(t, env, "grafana")
	if err != nil {
		t.Fatal(err)
	}

	var ports []string
	for name, service := range project.Services {
		ours := strings.HasPrefix(name, "eventbus-")
		if service.Restart == "" {
			t.Errorf("%s is not started again when it ends", name)
		}
		if service.HealthCheck == nil && !ours { // ours has the image's
			t.Errorf("%s has no health check", name)
		}
		if !slices.Contains(service.CapDrop, "ALL") && name != "redis" { // which gives up root by itself
			t.Errorf("%s keeps capabilities", name)
		}
		for _, port := range service.Ports {
			ports = append(ports, name+" "+port.HostIP+":"+port.Published)
		}
		for _, volume := range service.Volumes {
			if volume.Type != types.VolumeTypeBind {
				continue
			}
			if _, err := os.Stat(volume.Source); err != nil {
				t.Errorf("%s mounts what is not there: %v", name, err)
			}
			if !volume.ReadOnly {
				t.Errorf("%s may write to %s", name, volume.Source)
			}
		}
		if ours {
			checkReplica(t, name, service)
		}
	}
	exactly(t, "ports of the host", ports, []string{"nginx :3003", "prometheus 127.0.0.1:9090", "grafana 127.0.0.1:3000"})

	redis := strings.Join(project.Services["redis"].Command, " ")
	for _, want := range []string{"--appendonly yes", "--appendfsync everysec", "--maxmemory-policy noeviction", "--requirepass a password"} {
		if !strings.Contains(redis, want) {
			t.Errorf("redis: %q lacks %q", redis, want)
		}
	}
	for dependency, how := range project.Services["nginx"].DependsOn {
		if how.Condition != types.ServiceConditionHealthy {
			t.Errorf("nginx starts before %s is healthy", dependency)
		}
	}
}

func checkReplica(t *testing.T, name string, service types.ServiceConfig) {
	t.Helper()
	knownVariables(t, name, slices.Collect(maps.Keys(service.Environment)))
	for key, value := range map[string]string{"REDIS_HOST": "redis", "REDIS_PASSWORD": "a password"} {
		if got := service.Environment[key]; got == nil || *got != value {
			t.Errorf("%s: %s is not %q", name, key, value)
		}
	}
	if _, ok := service.Networks["back"]; !ok {
		t.Errorf("%s does not reach Redis", name)
	}
	drain := duration(t, *service.Environment["DRAIN_TIMEOUT"])
	if service.StopGracePeriod == nil || duration(t, service.StopGracePeriod.String()) < drain+lingering {
		t.Errorf("%s: stop_grace_period %v cuts a drain of %v short", name, service.StopGracePeriod, drain)
	}
	if len(service.Command) > 0 || len(service.Entrypoint) > 0 {
		t.Errorf("%s does not run what the image runs", name)
	}
}

// Names and ports of the replicas are the same in all three files.
func TestReplicasOfNginxAndPrometheus(t *testing.T) {
	t.Parallel()
	project, err := loadCompose(t, map[string]string{"JWT_SECRET": strings.Repeat("s", 32)})
	if err != nil {
		t.Fatal(err)
	}
	known := settings(t)
	var public, internal []string
	for name := range project.Services {
		if strings.HasPrefix(name, "eventbus-") {
			public = append(public, name+":"+known["WEBSOCKET_PORT"])
			internal = append(internal, name+":"+known["HEALTH_PORT"])
		}
	}
	exactly(t, "nginx's upstream", submatches(`(?m)^\s+server (\S+:\d+) `, read(t, "deploy/nginx/nginx.conf")), public)

	var prometheus struct {
		ScrapeConfigs []struct {
			JobName       string `json:"job_name"`
			StaticConfigs []struct{ Targets []string }
		} `json:"scrape_configs"`
	}
	text := strings.ReplaceAll(read(t, "deploy/prometheus/prometheus.yml"), "static_configs", "staticConfigs")
	if err := yaml.Unmarshal([]byte(text), &prometheus); err != nil {
		t.Fatal(err)
	}
	exactly(t, "Prometheus's targets", prometheus.ScrapeConfigs[0].StaticConfigs[0].Targets, internal)
	if got := prometheus.ScrapeConfigs[0].JobName; got != job {
		t.Errorf("the job is %q, and alert rules and dashboard say %q", got, job)
	}
}

// Grafana finds its data source and the dashboard where Compose puts them.
func TestGrafanaProvisioning(t *testing.T) {
	t.Parallel()
	project, err := loadCompose(t, map[string]string{"JWT_SECRET": strings.Repeat("s", 32)}, "grafana")
	if err != nil {
		t.Fatal(err)
	}
	var sources struct{ Datasources []struct{ URL string } }
	decode(t, read(t, "deploy/grafana/provisioning/datasources/prometheus.yaml"), &sources)
	if host, _, _ := strings.Cut(strings.TrimPrefix(sources.Datasources[0].URL, "http://"), ":"); project.Services[host].Image == "" {
		t.Errorf("the data source is %s, and there is no such service", sources.Datasources[0].URL)
	}
	var providers struct {
		Providers []struct{ Options struct{ Path string } }
	}
	decode(t, read(t, "deploy/grafana/provisioning/dashboards/event-bus.yaml"), &providers)
	var mounted []string
	for _, volume := range project.Services["grafana"].Volumes {
		mounted = append(mounted, volume.Target)
	}
	for _, want := range []string{providers.Providers[0].Options.Path + "/event-bus.json", "/etc/grafana/provisioning"} {
		if !slices.Contains(mounted, want) {
			t.Errorf("nothing is mounted at %s", want)
		}
	}
}

// nginx waits for longer than the service lets a client be silent, and lets the largest message through.
func TestNginxLimits(t *testing.T) {
	t.Parallel()
	known := settings(t)
	conf := read(t, "deploy/nginx/nginx.conf")
	silence := duration(t, known["PING_INTERVAL"]) + duration(t, known["PING_TIMEOUT"])
	for _, name := range []string{"proxy_read_timeout", "proxy_send_timeout"} {
		found := submatches(`(?m)^\s*`+name+` (\w+);`, conf)
		if len(found) != 1 || duration(t, found[0]) <= silence {
			t.Errorf("%s is %v, want one above %v", name, found, silence)
		}
	}
	if !strings.Contains(conf, "client_max_body_size 1m;") || known["MAX_PAYLOAD"] != "1000000" {
		t.Errorf("client_max_body_size does not go with MAX_PAYLOAD %s", known["MAX_PAYLOAD"])
	}
}
