package deploy

import (
	"maps"
	"path/filepath"
	"strings"
	"testing"

	"github.com/yannh/kubeconform/pkg/validator"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// build is kubectl kustomize.
func build(t *testing.T, path ...string) string {
	t.Helper()
	dir := filepath.Join(append([]string{root, "deploy", "kubernetes"}, path...)...)
	all, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	if err != nil {
		t.Fatal(err)
	}
	out, err := all.AsYaml()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestKubernetes(t *testing.T) {
	t.Parallel()
	base := map[string]int{"ServiceAccount": 1, "ConfigMap": 1, "Deployment": 1, "Service": 1, "PodDisruptionBudget": 1, "NetworkPolicy": 1}
	with := func(kinds ...string) map[string]int {
		all := maps.Clone(base)
		for _, kind := range kinds {
			all[kind]++
		}
		return all
	}
	for name, test := range map[string]struct {
		documents string
		want      map[string]int
	}{
		"base": {build(t, "base"), with("HorizontalPodAutoscaler")},
		"keda": {build(t, "keda"), with("ScaledObject")},
		"with monitoring, secret and ingress": {
			strings.Join([]string{build(t, "base"), build(t, "monitoring"), read(t, "deploy/kubernetes/secret.example.yaml"), read(t, "deploy/kubernetes/ingress.example.yaml")}, "\n---\n"),
			with("HorizontalPodAutoscaler", "PodMonitor", "Secret", "Ingress"),
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := parse(t, test.documents)
			if got := m.kinds(); !maps.Equal(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
			m.check(t, "event-bus-secrets")
		})
	}
}

// The names are the seed design's, so that what refers to them goes on working.
func TestKubernetesNames(t *testing.T) {
	t.Parallel()
	m := parse(t, build(t, "base"))
	for _, key := range []string{"Deployment/event-bus-service", "Service/event-bus-service", "HorizontalPodAutoscaler/event-bus-hpa"} {
		if _, ok := m.objects[key]; !ok {
			t.Errorf("there is no %s", key)
		}
	}
	container := m.deployment.Spec.Template.Spec.Containers[0]
	if got := m.deployment.Spec.Template.Labels["app"]; got != "event-bus-service" {
		t.Errorf("the pods' app is %q", got)
	}
	if got := container.VolumeMounts[0]; got.MountPath != "/app/config" || !got.ReadOnly {
		t.Errorf("the configuration is mounted as %+v", got)
	}
	for _, key := range []string{"REDIS_HOST", "REDIS_PORT", "WEBSOCKET_PORT", "HEALTH_PORT", "LOG_LEVEL"} {
		found := false
		for _, v := range container.Env {
			found = found || v.Name == key && v.Value != ""
		}
		if !found {
			t.Errorf("%s is not set", key)
		}
	}
}

// The example of a secret works only once somebody has put one in, and has the keys that the pods ask for.
func TestSecretExample(t *testing.T) {
	t.Parallel()
	var secret corev1.Secret
	decode(t, read(t, "deploy/kubernetes/secret.example.yaml"), &secret)
	var keys []string
	for key, value := range secret.StringData {
		keys = append(keys, key)
		if value != "" {
			t.Errorf("%s has a value that anybody can read", key)
		}
	}
	var asked []string
	for _, v := range parse(t, build(t, "base")).deployment.Spec.Template.Spec.Containers[0].Env {
		if v.ValueFrom != nil && v.ValueFrom.SecretKeyRef != nil {
			asked = append(asked, v.ValueFrom.SecretKeyRef.Key)
		}
	}
	exactly(t, "keys", keys, asked)
}

// The file that is mounted is one that the service takes.
func TestKubernetesConfigFile(t *testing.T) {
	t.Parallel()
	checkConfig(t, filepath.Join(root, "deploy", "kubernetes", "base", "config.yaml"))
}

// checkConfig has the service look at a configuration file.
func checkConfig(t *testing.T, path string) {
	t.Helper()
	env := []string{"REDIS_HOST=redis-service", "JWT_SECRET=" + strings.Repeat("s", 32), "CONFIG_FILE=" + path}
	if out, code := run(t, env, "check-config"); code != 0 {
		t.Errorf("check-config ends with %d:\n%s", code, out)
	}
}

// A validator that finds nothing wrong has to find something.
func TestSchemasAreStrict(t *testing.T) {
	t.Parallel()
	for name, change := range map[string][2]string{
		"unknown field": {"minReadySeconds:", "minReadySecond:"},
		"wrong type":    {"maxUnavailable: 0", "maxUnavailable: []"},
		"no template":   {"\n  template:", "\n  templates:"},
		"unknown kind":  {"kind: Deployment", "kind: Deploymint"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			document := read(t, "deploy/kubernetes/base/deployment.yaml")
			changed := strings.Replace(document, change[0], change[1], 1)
			if changed == document {
				t.Fatalf("nothing to change: %q", change[0])
			}
			if result := validate(t, changed)[0]; result.Status == validator.Valid {
				t.Error("it is valid")
			}
			if result := validate(t, document)[0]; result.Status != validator.Valid {
				t.Errorf("unchanged, it is not valid: %v", result.Err)
			}
		})
	}
}

// The autoscaler's manifest is one of its own. What it is told, its own tests look at.
func TestAutoscalerManifest(t *testing.T) {
	t.Parallel()
	m := parse(t, read(t, "deploy/kubernetes/autoscaler.yaml"))
	want := map[string]int{"ServiceAccount": 1, "Role": 1, "RoleBinding": 1, "Service": 1, "Deployment": 1}
	if got := m.kinds(); !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	spec := m.deployment.Spec
	if n := spec.Replicas; n == nil || *n != 1 || spec.Strategy.Type != "Recreate" {
		t.Errorf("%v replicas, %s: there must never be two", n, spec.Strategy.Type)
	}
	container := spec.Template.Spec.Containers[0]
	if program := container.Command[0]; !strings.Contains(read(t, "Dockerfile"), "/out/"+strings.TrimPrefix(program, "/usr/local/bin/")+" ") {
		t.Errorf("the image has no %s", program)
	}
}
