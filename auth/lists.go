package auth

import (
	"strings"
	"sync"

	"github.com/tidwall/gjson"
)

const (
	maxShared     = 1024 // lists remembered
	maxSharedText = 1024 // bytes of JSON of each
)

// lists hands out the string lists of claims, and the same list for the same JSON: most users have the roles of many
// others, and tens of thousands of identities are alive at once. (unique.Make does not serve: it forgets a value as
// soon as only its string, not its handle, is held.)
type lists struct {
	mu     sync.Mutex
	shared map[string][]string
}

// parse reads a JSON array of strings, or one string. It returns nil for "", and false for anything else or too long.
func (l *lists) parse(raw string) ([]string, bool) {
	if raw == "" {
		return nil, true
	}
	l.mu.Lock()
	list, ok := l.shared[raw]
	l.mu.Unlock()
	if ok {
		return list, true
	}
	list, ok = texts(gjson.Parse(raw))
	if !ok {
		return nil, false
	}
	list = compact(list)
	if len(raw) > maxSharedText {
		return list, true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if other, ok := l.shared[raw]; ok {
		return other, true
	}
	// Lists that name single photos are seen once and fill the table. Starting over costs a common list one more copy.
	if l.shared == nil || len(l.shared) >= maxShared {
		l.shared = make(map[string][]string)
	}
	l.shared[strings.Clone(raw)] = list
	return list, true
}

// compact moves the strings into one that holds nothing else, and the list into an array that has no room to spare,
// so that an append to a shared list copies it.
func compact(list []string) []string {
	all := strings.Join(list, "")
	out := make([]string, len(list))
	for i, s := range list {
		out[i], all = all[:len(s)], all[len(s):]
	}
	return out
}
