package events

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// maxProblems bounds what one invalid event can write into a log or an answer.
const maxProblems = 20

// check returns the sorted problems of one JSON text.
func check(s *jsonschema.Schema, raw []byte) []string {
	// Not jsonschema.UnmarshalJSON: it keeps numbers as text, and the validator works on them with arbitrary
	// precision, so that 1e99999999 would cost memory without bound or a panic.
	var doc any
	if err := json.Unmarshal(raw, &doc); err != nil {
		return []string{"want numbers within the range of a 64-bit float"}
	}
	var failed *jsonschema.ValidationError
	if !errors.As(s.Validate(doc), &failed) {
		return nil
	}
	problems := describe(nil, s, failed)
	slices.Sort(problems)
	return slices.Compact(problems) // envelope and type may complain of the same
}

func invalid(problems []string) error {
	if len(problems) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrInvalid, strings.Join(bounded(problems), "; "))
}

func bounded(problems []string) []string {
	if more := len(problems) - maxProblems; more > 0 {
		problems = append(problems[:maxProblems:maxProblems], fmt.Sprintf("and %d more", more))
	}
	return problems
}
