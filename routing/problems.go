package routing

import "fmt"

// problems collects what is wrong with a specification, so that all of it is told at once.
type problems []error

// problem notes one, at a place such as "filters[2].action.params.limit".
func (p *problems) problem(place, format string, args ...any) {
	*p = append(*p, fmt.Errorf("%s: %s", place, fmt.Sprintf(format, args...)))
}
