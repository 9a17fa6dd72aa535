package web

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	maxName  = 512 // bytes of a room, a channel, a cursor, a socket's or user's id
	maxPage  = 1000
	pageSize = 100
)

// query reads the parameters of an address. It collects what is wrong, an unknown one included, until done is asked.
type query struct {
	values url.Values
	wrong  []FieldError
}

func newQuery(r *http.Request) *query {
	values, err := url.ParseQuery(r.URL.RawQuery)
	q := &query{values: values}
	if err != nil {
		q.values = nil
		q.report("query", "must be URL-encoded name=value pairs.")
	}
	return q
}

func (q *query) report(name, detail string) {
	if len(q.wrong) < maxFieldErrors {
		q.wrong = append(q.wrong, FieldError{name, detail})
	}
}

// take removes a parameter from those not looked at.
func (q *query) take(name string) (value string, given bool) {
	all, given := q.values[name]
	if !given {
		return "", false
	}
	delete(q.values, name)
	if len(all) > 1 {
		q.report(name, "comes more than once.")
	}
	return all[0], true
}

// text is a parameter that is left out or has something in it.
func (q *query) text(name string) string {
	v, given := q.take(name)
	if given {
		if why := checkName(v); why != "" {
			q.report(name, why)
		}
	}
	return v
}

func (q *query) number(name string, otherwise, low, high int) int {
	v, given := q.take(name)
	if !given {
		return otherwise
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < low || n > high {
		q.report(name, fmt.Sprintf("must be a whole number from %d to %d.", low, high))
	}
	return n
}

func (q *query) flag(name string, otherwise bool) bool {
	switch v, given := q.take(name); {
	case !given:
		return otherwise
	case v == "true":
		return true
	case v != "false":
		q.report(name, "must be true or false.")
	}
	return false
}

func (q *query) time(name string, otherwise time.Time) time.Time {
	v, given := q.take(name)
	if !given {
		return otherwise
	}
	t, err := time.Parse(time.RFC3339, v)
	if err != nil {
		q.report(name, "must be a time as of RFC 3339, such as 2026-01-02T15:04:05Z.")
	}
	return t
}

func (q *query) page() Page {
	return Page{Cursor: q.text("cursor"), Limit: q.number("limit", pageSize, 1, maxPage)}
}

// done returns what is wrong, once all that is known has been taken.
func (q *query) done() error {
	for _, name := range slices.Sorted(maps.Keys(q.values)) {
		q.report(join("", strings.ToValidUTF8(name, "")), "is no parameter of this address.")
	}
	if len(q.wrong) > 0 {
		return fieldsError(http.StatusBadRequest, q.wrong...)
	}
	return nil
}

// checkName returns what is wrong with a name of something that exists elsewhere, or "".
func checkName(name string) string {
	switch {
	case name == "":
		return "must not be empty."
	case len(name) > maxName:
		return fmt.Sprintf("may have %d bytes.", maxName)
	case !utf8.ValidString(name):
		return "must be UTF-8."
	case strings.ContainsFunc(name, unicode.IsControl):
		return "may not contain control characters."
	}
	return ""
}

// checkNewID returns what is wrong with an id that the caller makes up, or "". It becomes part of Redis keys, labels and
// addresses.
func checkNewID(id string) string {
	const want = "must have 1 to 128 letters, digits, '.', '_', ':' or '-', and begin with a letter or digit."
	if id == "" || len(id) > 128 {
		return want
	}
	for i, c := range []byte(id) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && (i == 0 || !strings.ContainsRune("._:-", rune(c))) {
			return want
		}
	}
	return ""
}
