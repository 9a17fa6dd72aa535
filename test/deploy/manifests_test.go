package deploy

import (
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/yannh/kubeconform/pkg/validator"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"
)

const (
	lingering = 10 * time.Second // that a drain may take beyond DRAIN_TIMEOUT
	job       = "event-bus"      // of Prometheus, in alert rules and the dashboard
)

// scaler is a KEDA ScaledObject as far as it is looked at.
type scaler struct {
	Spec struct {
		ScaleTargetRef struct{ Name string }
		Triggers       []struct {
			Type     string
			Metadata map[string]string
		}
	}
}

// podMonitor is the Prometheus Operator's, as far as it is looked at.
type podMonitor struct {
	Spec struct {
		Selector            metav1.LabelSelector
		PodMetricsEndpoints []struct {
			Port, Path  string
			Relabelings []struct{ TargetLabel, Replacement string }
		}
	}
}

// manifests are the objects that are made together, by kind and name.
type manifests struct {
	deployment appsv1.Deployment
	objects    map[string]string // "Kind/name" -> YAML
}

// validate is kubeconform with the schemas kept here.
func validate(t *testing.T, documents string) []validator.Result {
	t.Helper()
	schemas, err := filepath.Abs("schemas")
	if err != nil {
		t.Fatal(err)
	}
	check, err := validator.New([]string{schemas + "/{{ .ResourceKind }}{{ .KindSuffix }}.json"}, validator.Opts{Strict: true})
	if err != nil {
		t.Fatal(err)
	}
	return check.Validate("manifests", io.NopCloser(strings.NewReader(documents)))
}

// parse reads documents of YAML and validates each by the schema of its kind.
func parse(t *testing.T, documents string) *manifests {
	t.Helper()
	for _, result := range validate(t, documents) {
		if result.Status != validator.Valid && result.Status != validator.Empty {
			sig, _ := result.Resource.Signature()
			t.Errorf("%+v: %v %v", sig, result.Err, result.ValidationErrors)
		}
	}
	m := &manifests{objects: map[string]string{}}
	for document := range strings.SplitSeq("\n"+documents, "\n---\n") {
		var object struct {
			Kind     string
			Metadata struct{ Name string }
		}
		if err := yaml.UnmarshalStrict([]byte(document), &map[string]any{}); err != nil { // a key twice
			t.Errorf("%v in\n%s", err, document)
		}
		decode(t, document, &object)
		if object.Kind == "" {
			continue
		}
		key := object.Kind + "/" + object.Metadata.Name
		if _, twice := m.objects[key]; twice {
			t.Errorf("%s is there twice", key)
		}
		m.objects[key] = document
		if object.Kind == "Deployment" {
			decode(t, document, &m.deployment)
		}
	}
	return m
}

func decode(t *testing.T, document string, into any) {
	t.Helper()
	if err := yaml.Unmarshal([]byte(document), into); err != nil {
		t.Fatalf("%v in\n%s", err, document)
	}
}

// kinds are how often each kind is there.
func (m *manifests) kinds() map[string]int {
	kinds := map[string]int{}
	for key := range m.objects {
		kind, _, _ := strings.Cut(key, "/")
		kinds[kind]++
	}
	return kinds
}

// check complains about what would not work together. Secrets named outside were made before.
func (m *manifests) check(t *testing.T, outside ...string) {
	t.Helper()
	spec := m.deployment.Spec.Template.Spec
	if len(spec.Containers) != 1 {
		t.Fatalf("the pod has %d containers", len(spec.Containers))
	}
	container := spec.Containers[0]
	m.checkSettings(t, container)
	m.checkPod(t, spec, container, outside)
	m.selects(t, "the Deployment", m.deployment.Spec.Selector)
	ports := map[string]bool{}
	for _, port := range container.Ports {
		ports[port.Name] = true
	}
	for key, document := range m.objects {
		switch kind, _, _ := strings.Cut(key, "/"); kind {
		case "Service":
			var service corev1.Service
			decode(t, document, &service)
			m.selects(t, key, metav1.SetAsLabelSelector(service.Spec.Selector))
			for _, port := range service.Spec.Ports {
				if !ports[port.TargetPort.StrVal] {
					t.Errorf("%s leads to a port %q that the pod has not", key, port.TargetPort.StrVal)
				}
			}
		case "PodDisruptionBudget":
			var budget policyv1.PodDisruptionBudget
			decode(t, document, &budget)
			m.selects(t, key, budget.Spec.Selector)
		case "HorizontalPodAutoscaler":
			var hpa autoscalingv2.HorizontalPodAutoscaler
			decode(t, document, &hpa)
			m.scales(t, key, hpa.Spec.ScaleTargetRef.Name)
		case "ScaledObject":
			var keda scaler
			decode(t, document, &keda)
			m.scales(t, key, keda.Spec.ScaleTargetRef.Name)
			for _, trigger := range keda.Spec.Triggers {
				knownMetrics(t, key, trigger.Metadata["query"])
			}
		case "NetworkPolicy":
			m.checkPolicy(t, key, document, ports)
		case "PodMonitor":
			m.checkMonitor(t, key, document, ports)
		case "Ingress":
			m.checkIngress(t, key, document)
		}
	}
	n := m.kinds()["HorizontalPodAutoscaler"] + m.kinds()["ScaledObject"]
	if m.deployment.Spec.Replicas != nil {
		n++
	}
	if n != 1 {
		t.Errorf("%d owners of one replica count: autoscalers and the Deployment", n)
	}
}

func (m *manifests) selects(t *testing.T, who string, selector *metav1.LabelSelector) {
	t.Helper()
	s, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		t.Fatal(err)
	}
	if s.Empty() || !s.Matches(labels.Set(m.deployment.Spec.Template.Labels)) {
		t.Errorf("%s selects %q, and the pods have %v", who, s, m.deployment.Spec.Template.Labels)
	}
}

func (m *manifests) scales(t *testing.T, who, target string) {
	t.Helper()
	if target != m.deployment.Name {
		t.Errorf("%s scales %q, and the deployment is %q", who, target, m.deployment.Name)
	}
}

// checkSettings looks at what the container is told.
func (m *manifests) checkSettings(t *testing.T, container corev1.Container) {
	t.Helper()
	env := map[string]string{}
	for _, v := range container.Env {
		if _, twice := env[v.Name]; twice {
			t.Errorf("%s is set twice", v.Name)
		}
		env[v.Name] = v.Value
		for _, name := range submatches(`\$\((\w+)\)`, v.Value) {
			if _, before := env[name]; !before {
				t.Errorf("%s refers to %s, which is not set before it", v.Name, name)
			}
		}
	}
	knownVariables(t, "the pod", slices.Collect(maps.Keys(env)), "POD_IP", "GOMEMLIMIT")
	for _, port := range container.Ports {
		name := map[string]string{"websocket": "WEBSOCKET_PORT", "health": "HEALTH_PORT"}[port.Name]
		if want := strconv.Itoa(int(port.ContainerPort)); env[name] != want {
			t.Errorf("port %s is %s, and %s is %q", port.Name, want, name, env[name])
		}
	}
	if addr := env["ADVERTISE_ADDR"]; strings.Contains(addr, "POD_IP") && !strings.HasSuffix(addr, ":"+env["HEALTH_PORT"]) {
		t.Errorf("ADVERTISE_ADDR %q is not the health port", addr)
	}
	grace := time.Duration(ptr.Deref(m.deployment.Spec.Template.Spec.TerminationGracePeriodSeconds, 30)) * time.Second
	if drain := duration(t, env["DRAIN_TIMEOUT"]); grace < drain+lingering {
		t.Errorf("a grace period of %v cuts a drain of %v short", grace, drain)
	}
	limit, limited := container.Resources.Limits[corev1.ResourceMemory]
	if goLimit := env["GOMEMLIMIT"]; goLimit != "" && limited {
		soft := resource.MustParse(strings.TrimSuffix(goLimit, "B"))
		window := resource.MustParse(env["RECOVERY_BYTES"])
		if soft.Cmp(limit) >= 0 || window.Value() > soft.Value()/2 {
			t.Errorf("memory: RECOVERY_BYTES %s, GOMEMLIMIT %s and a limit of %s do not go together", &window, &soft, &limit)
		}
	}
}

// checkPod looks at how the pod runs.
func (m *manifests) checkPod(t *testing.T, spec corev1.PodSpec, container corev1.Container, outside []string) {
	t.Helper()
	if len(container.Command) > 0 || len(container.Args) > 0 {
		t.Error("the container does not run what the image runs")
	}
	for name, probe := range map[string]*corev1.Probe{"startup": container.StartupProbe, "live": container.LivenessProbe, "ready": container.ReadinessProbe} {
		switch {
		case probe == nil || probe.HTTPGet == nil:
			t.Errorf("no probe for %s", name)
		case probe.HTTPGet.Path != "/health/"+name || !slices.Contains(probePaths, probe.HTTPGet.Path) || probe.HTTPGet.Port.StrVal != "health":
			t.Errorf("probe for %s: %+v", name, probe.HTTPGet)
		}
	}
	// What the Pod Security Standard "restricted" asks for, and a file system that nobody writes to.
	pod, c := spec.SecurityContext, container.SecurityContext
	switch {
	case pod == nil || pod.SeccompProfile == nil || c == nil || c.Capabilities == nil:
		t.Error("no security context")
	case !ptr.Deref(pod.RunAsNonRoot, false) || ptr.Deref(pod.RunAsUser, 0) == 0 || pod.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault,
		ptr.Deref(c.AllowPrivilegeEscalation, true) || !ptr.Deref(c.ReadOnlyRootFilesystem, false),
		!slices.Contains(c.Capabilities.Drop, "ALL") || len(c.Capabilities.Add) > 0:
		t.Errorf("not restricted: pod %+v, container %+v", pod, c)
	}
	if ptr.Deref(spec.AutomountServiceAccountToken, true) || ptr.Deref(spec.EnableServiceLinks, true) {
		t.Error("the pod gets a token of the API server, or variables of services")
	}
	there := func(kind, name string) {
		if _, ok := m.objects[kind+"/"+name]; !ok && (kind != "Secret" || !slices.Contains(outside, name)) {
			t.Errorf("the pod needs the %s %q, which nobody makes", kind, name)
		}
	}
	if name := spec.ServiceAccountName; name != "default" {
		there("ServiceAccount", name)
	}
	for _, volume := range spec.Volumes {
		if volume.ConfigMap != nil {
			there("ConfigMap", volume.ConfigMap.Name)
		}
	}
	for _, from := range container.EnvFrom {
		there("Secret", from.SecretRef.Name)
	}
	for _, v := range container.Env {
		if v.ValueFrom != nil && v.ValueFrom.SecretKeyRef != nil {
			there("Secret", v.ValueFrom.SecretKeyRef.Name)
		}
	}
}

func (m *manifests) checkPolicy(t *testing.T, key, document string, ports map[string]bool) {
	t.Helper()
	var policy networkingv1.NetworkPolicy
	decode(t, document, &policy)
	m.selects(t, key, &policy.Spec.PodSelector)
	forEachOther := false
	for _, rule := range policy.Spec.Ingress {
		for _, port := range rule.Ports {
			if !ports[port.Port.StrVal] {
				t.Errorf("%s opens a port %q that the pod has not", key, port.Port.StrVal)
			}
			if port.Port.StrVal != "health" {
				continue
			}
			if len(rule.From) == 0 {
				t.Errorf("%s opens the health port to everybody", key)
			}
			for _, from := range rule.From {
				if from.PodSelector == nil || from.NamespaceSelector != nil {
					continue
				}
				s, err := metav1.LabelSelectorAsSelector(from.PodSelector)
				forEachOther = forEachOther || err == nil && s.Matches(labels.Set(m.deployment.Spec.Template.Labels))
			}
		}
	}
	if !forEachOther {
		t.Errorf("%s keeps replicas from forwarding to each other", key)
	}
}

func (m *manifests) checkMonitor(t *testing.T, key, document string, ports map[string]bool) {
	t.Helper()
	var monitor podMonitor
	decode(t, document, &monitor)
	m.selects(t, key, &monitor.Spec.Selector)
	for _, e := range monitor.Spec.PodMetricsEndpoints {
		if !ports[e.Port] || !slices.Contains(probePaths, e.Path) {
			t.Errorf("%s scrapes %s of port %q", key, e.Path, e.Port)
		}
		if len(e.Relabelings) != 1 || e.Relabelings[0].TargetLabel != "job" || e.Relabelings[0].Replacement != job {
			t.Errorf("%s does not call the job %q", key, job)
		}
	}
}

func (m *manifests) checkIngress(t *testing.T, key, document string) {
	t.Helper()
	var ingress networkingv1.Ingress
	decode(t, document, &ingress)
	for _, rule := range ingress.Spec.Rules {
		for _, path := range rule.HTTP.Paths {
			var service corev1.Service
			decode(t, m.objects["Service/"+path.Backend.Service.Name], &service)
			if !slices.ContainsFunc(service.Spec.Ports, func(p corev1.ServicePort) bool { return p.Name == path.Backend.Service.Port.Name }) {
				t.Errorf("%s leads to %+v, which is not there", key, path.Backend.Service)
			}
		}
	}
}
