package events

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// maxInPlace bounds how many schemas may apply to one value: those behind each reference and alternative count every
// time they are come by, so that a short text could make work without end.
const maxInPlace = 1000

var (
	errDraft   = errors.New("want JSON Schema 2020-12 in all of it: leave $schema out")
	errCycle   = errors.New("refers to itself without going into a value, which would never end")
	errInPlace = fmt.Errorf("more than %d schemas apply to one value: want fewer references to what refers to more", maxInPlace)
)

// checkGraph refuses schemas whose references go around in circles or multiply, or lead to another version of JSON
// Schema, in whatever can be reached from root.
func checkGraph(root *jsonschema.Schema) error {
	costs := make(map[*jsonschema.Schema]int) // -1: being counted
	var cost func(s *jsonschema.Schema) (int, error)
	cost = func(s *jsonschema.Schema) (int, error) {
		switch n := costs[s]; {
		case n < 0:
			return 0, fmt.Errorf("%s: %w", s.Location, errCycle)
		case n > 0:
			return n, nil
		}
		costs[s] = -1
		sum := 1
		for _, next := range inPlace(s) {
			n, err := cost(next)
			if err != nil {
				return 0, err
			}
			if sum += n; sum > maxInPlace {
				return 0, fmt.Errorf("%s: %w", s.Location, errInPlace)
			}
		}
		costs[s] = sum
		return sum, nil
	}
	seen := map[*jsonschema.Schema]bool{root: true}
	for queue := []*jsonschema.Schema{root}; len(queue) > 0; queue = queue[1:] {
		s := queue[0]
		if s.DraftVersion != 2020 {
			return fmt.Errorf("%s: %w", s.Location, errDraft)
		}
		if _, err := cost(s); err != nil {
			return err
		}
		for _, next := range append(inPlace(s), inside(s)...) {
			if !seen[next] {
				seen[next] = true
				queue = append(queue, next)
			}
		}
	}
	return nil
}

// inPlace lists the schemas that apply to the same value as s.
func inPlace(s *jsonschema.Schema) []*jsonschema.Schema {
	list := slices.Concat([]*jsonschema.Schema{s.Ref, s.Not, s.If, s.Then, s.Else}, s.AllOf, s.AnyOf, s.OneOf,
		slices.Collect(maps.Values(s.DependentSchemas)))
	if s.DynamicRef != nil {
		list = append(list, s.DynamicRef.Ref)
	}
	return slices.DeleteFunc(list, isNil)
}

// inside lists the schemas that apply to what is in the value.
func inside(s *jsonschema.Schema) []*jsonschema.Schema {
	list := slices.Concat([]*jsonschema.Schema{s.PropertyNames, s.UnevaluatedProperties, s.Contains, s.Items2020, s.UnevaluatedItems},
		s.PrefixItems, slices.Collect(maps.Values(s.Properties)), slices.Collect(maps.Values(s.PatternProperties)))
	if additional, ok := s.AdditionalProperties.(*jsonschema.Schema); ok {
		list = append(list, additional)
	}
	return slices.DeleteFunc(list, isNil)
}

func isNil(s *jsonschema.Schema) bool { return s == nil }
