package events

import (
	"slices"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"
)

// noScript is the rule of that name: data that a careless front-end puts into a page must not run there.
func noScript(e Event) error {
	if !strings.Contains(e.data, `\`) && !opensScript(e.data) { // without escapes, the strings are there as they are
		return nil
	}
	if where, found := findScript(data(e)); found {
		return broken("no_script", where, "has a script element, want none")
	}
	return nil
}

// findScript finds the first field that has a script element in its name or value.
func findScript(v gjson.Result) (where []string, found bool) {
	if v.Type == gjson.String {
		return nil, opensScript(v.Str)
	}
	if v.Type != gjson.JSON { // ForEach would give it back
		return nil, false
	}
	i := 0
	v.ForEach(func(key, value gjson.Result) bool {
		if found = opensScript(key.Str); !found {
			where, found = findScript(value)
		}
		if found {
			name := key.Str
			if v.IsArray() {
				name = strconv.Itoa(i)
			}
			where = slices.Insert(where, 0, name)
		}
		i++
		return !found
	})
	return where, found
}

// opensScript finds what begins a script element in HTML.
func opensScript(s string) bool {
	const tag = "<script"
	for {
		i := strings.IndexByte(s, '<')
		if i < 0 || len(s)-i < len(tag) {
			return false
		}
		s = s[i:]
		if strings.EqualFold(s[:len(tag)], tag) && (len(s) == len(tag) || !isWord(s[len(tag)])) {
			return true
		}
		s = s[1:]
	}
}

func isWord(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}
