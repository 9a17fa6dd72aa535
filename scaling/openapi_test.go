package scaling

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// An analysis is what the API's document says, with and without figures.
func TestAnalysisSchema(t *testing.T) {
	t.Parallel()
	file, err := os.Open("../web/openapi.json")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	document, err := jsonschema.UnmarshalJSON(file)
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("openapi.json", document); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile("openapi.json#/components/schemas/PerformanceAnalysis")
	if err != nil {
		t.Fatal(err)
	}
	busy := after()
	busy.Process.CPUSeconds.Value += 90
	for name, analysis := range map[string]Analysis{
		"nothing known":       Analyse(Snapshot{}, Snapshot{}, Thresholds{}),
		"all known":           Analyse(before(), after(), Thresholds{}),
		"with recommendation": Analyse(before(), busy, Thresholds{}),
	} {
		text, err := json.Marshal(analysis)
		if err != nil {
			t.Fatal(err)
		}
		value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if err := schema.Validate(value); err != nil {
			t.Errorf("%s: %v\n%s", name, err, text)
		}
	}
}
