// Command generate writes the JSON schemas in this directory's parent: one strict schema for each kind of object that
// deploy/ has, from the API descriptions that Kubernetes, KEDA and the Prometheus Operator ship in their Go modules.
// See the README there.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

const (
	kubernetes = "k8s.io/kubernetes@v1.37.2"
	keda       = "github.com/kedacore/keda/v2@v2.21.0"
	operator   = "github.com/prometheus-operator/prometheus-operator@v0.85.0"
)

// kinds are the definitions in Kubernetes's swagger.json, by the name of the file that kubeconform looks for.
var kinds = map[string]string{
	"configmap-v1":                           "io.k8s.api.core.v1.ConfigMap",
	"deployment-apps-v1":                     "io.k8s.api.apps.v1.Deployment",
	"horizontalpodautoscaler-autoscaling-v2": "io.k8s.api.autoscaling.v2.HorizontalPodAutoscaler",
	"ingress-networking-v1":                  "io.k8s.api.networking.v1.Ingress",
	"networkpolicy-networking-v1":            "io.k8s.api.networking.v1.NetworkPolicy",
	"poddisruptionbudget-policy-v1":          "io.k8s.api.policy.v1.PodDisruptionBudget",
	"role-rbac-v1":                           "io.k8s.api.rbac.v1.Role",
	"rolebinding-rbac-v1":                    "io.k8s.api.rbac.v1.RoleBinding",
	"secret-v1":                              "io.k8s.api.core.v1.Secret",
	"service-v1":                             "io.k8s.api.core.v1.Service",
	"serviceaccount-v1":                      "io.k8s.api.core.v1.ServiceAccount",
}

// customs are custom resource definitions: module, file in it and version, by the same kind of name.
var customs = map[string][3]string{
	"podmonitor-monitoring-v1":     {operator, "example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml", "v1"},
	"servicemonitor-monitoring-v1": {operator, "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml", "v1"},
	"prometheusrule-monitoring-v1": {operator, "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml", "v1"},
	"scaledobject-keda-v1alpha1":   {keda, "config/crd/bases/keda.sh_scaledobjects.yaml", "v1alpha1"},
}

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: generate DIRECTORY")
	}
	if err := generate(os.Args[1]); err != nil {
		log.Fatal(err)
	}
}

func generate(dir string) error {
	var swagger struct{ Definitions map[string]map[string]any }
	if err := read(kubernetes, "api/openapi-spec/swagger.json", &swagger); err != nil {
		return err
	}
	for file, name := range kinds {
		used := map[string]any{}
		collect(swagger.Definitions, name, used)
		root, _ := used[name].(map[string]any)
		if root == nil {
			return fmt.Errorf("%s: no definition %q", kubernetes, name)
		}
		root = maps.Clone(root)
		root["properties"] = identified(root["properties"])
		delete(used, name)
		root["definitions"] = used
		if err := write(dir, file, root); err != nil {
			return err
		}
	}
	for file, from := range customs {
		var crd struct {
			Spec struct {
				Versions []struct {
					Name   string
					Schema struct {
						OpenAPIV3Schema map[string]any `json:"openAPIV3Schema"`
					}
				}
			}
		}
		if err := read(from[0], from[1], &crd); err != nil {
			return err
		}
		found := false
		for _, v := range crd.Spec.Versions {
			if v.Name == from[2] {
				found = true
				root := strict(v.Schema.OpenAPIV3Schema).(map[string]any)
				properties := identified(root["properties"])
				properties["metadata"] = map[string]any{"type": "object"} // Kubernetes's own, and not said in a CRD
				root["properties"] = properties
				if err := write(dir, file, root); err != nil {
					return err
				}
			}
		}
		if !found {
			return fmt.Errorf("%s: %s has no version %s", from[0], from[1], from[2])
		}
	}
	return nil
}

// identified are properties among which apiVersion and kind are the same everywhere.
func identified(properties any) map[string]any {
	all := maps.Clone(properties.(map[string]any))
	for _, name := range []string{"apiVersion", "kind"} {
		all[name] = map[string]any{"type": "string"}
	}
	return all
}

// collect adds a definition, and those that it refers to, to used.
func collect(all map[string]map[string]any, name string, used map[string]any) {
	definition, ok := all[name]
	if _, there := used[name]; there || !ok {
		return
	}
	used[name] = strict(definition)
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			if ref, ok := v["$ref"].(string); ok {
				collect(all, strings.TrimPrefix(ref, "#/definitions/"), used)
			}
			for _, one := range v {
				walk(one)
			}
		case []any:
			for _, one := range v {
				walk(one)
			}
		}
	}
	walk(definition)
}

// extensions are those that mean something to a validator.
var extensions = []string{"x-kubernetes-int-or-string", "x-kubernetes-preserve-unknown-fields"}

// strict is a schema without its prose, that allows no properties but those it names. An OpenAPI "int-or-string" becomes
// the two types, as JSON Schema has no such format.
func strict(schema any) any {
	switch schema := schema.(type) {
	case []any:
		out := make([]any, len(schema))
		for i, one := range schema {
			out[i] = strict(one)
		}
		return out
	case map[string]any:
		out := map[string]any{}
		for key, value := range schema {
			switch _, text := value.(string); {
			case key == "description" && text, strings.HasPrefix(key, "x-kubernetes-") && !slices.Contains(extensions, key):
			case key == "properties":
				properties := map[string]any{}
				for name, property := range value.(map[string]any) {
					properties[name] = strict(property)
				}
				out[key] = properties
			default:
				out[key] = strict(value)
			}
		}
		if out["format"] == "int-or-string" || out["x-kubernetes-int-or-string"] == true {
			delete(out, "format")
			out["type"] = []any{"string", "integer"}
		}
		_, named := out["properties"]
		if _, open := out["additionalProperties"]; named && !open && out["x-kubernetes-preserve-unknown-fields"] != true {
			out["additionalProperties"] = false
		}
		for _, key := range extensions {
			delete(out, key)
		}
		return out
	}
	return schema
}

// read decodes a file, YAML or JSON, of a module at a version.
func read(module, file string, into any) error {
	out, err := exec.Command("go", "mod", "download", "-json", module).Output()
	if err != nil {
		return fmt.Errorf("go mod download %s: %w", module, err)
	}
	var where struct{ Dir string }
	if err := json.Unmarshal(out, &where); err != nil {
		return err
	}
	b, err := os.ReadFile(filepath.Join(where.Dir, file))
	if err != nil {
		return err
	}
	if err := yaml.Unmarshal(b, into); err != nil {
		return fmt.Errorf("decode %s of %s: %w", file, module, err)
	}
	return nil
}

// write writes a schema with one line for each definition, so that a new version makes a readable difference.
func write(dir, name string, schema map[string]any) error {
	schema["$schema"] = "http://json-schema.org/draft-07/schema#"
	var buf bytes.Buffer
	line := func(indent, key string, value any, last bool) error {
		b, err := json.Marshal(value)
		if err != nil {
			return err
		}
		fmt.Fprintf(&buf, "%s%q: %s", indent, key, b)
		if !last {
			buf.WriteByte(',')
		}
		buf.WriteByte('\n')
		return nil
	}
	definitions, _ := schema["definitions"].(map[string]any)
	delete(schema, "definitions")
	buf.WriteString("{\n")
	keys := slices.Sorted(maps.Keys(schema))
	for i, key := range keys {
		if err := line("  ", key, schema[key], i == len(keys)-1 && len(definitions) == 0); err != nil {
			return err
		}
	}
	if len(definitions) > 0 {
		buf.WriteString("  \"definitions\": {\n")
		names := slices.Sorted(maps.Keys(definitions))
		for i, key := range names {
			if err := line("    ", key, definitions[key], i == len(names)-1); err != nil {
				return err
			}
		}
		buf.WriteString("  }\n")
	}
	buf.WriteString("}\n")
	if !json.Valid(buf.Bytes()) {
		return fmt.Errorf("%s: what was written is no JSON", name)
	}
	return os.WriteFile(filepath.Join(dir, name+".json"), buf.Bytes(), 0o644)
}
