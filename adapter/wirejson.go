package adapter

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tidwall/gjson"
)

var (
	errWire  = errors.New("not a message of a Socket.IO adapter")
	errDepth = fmt.Errorf("%w: nested deeper than %d levels", errWire, maxDepth)
)

// wireError is an errWire that says what is wrong.
func wireError(what string) error { return fmt.Errorf("%w: %s", errWire, what) }

// checkJSON refuses what is not one JSON value, or nested too deep.
func checkJSON(text string) error {
	// gjson recurses, so the depth comes first. Few values have so many brackets that they need to be matched.
	if strings.Count(text, "[")+strings.Count(text, "{") > maxDepth && tooDeep(text) {
		return errDepth
	}
	if !gjson.Valid(text) {
		return wireError("not JSON")
	}
	return nil
}

// tooDeep may err in what is not JSON.
func tooDeep(text string) bool {
	depth, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '[' || c == '{':
			if depth++; depth > maxDepth {
				return true
			}
		case c == ']' || c == '}':
			depth--
		}
	}
	return false
}

// parseJSON parses text from Redis. What is not UTF-8 in it becomes U+FFFD, as in Node: browsers close a connection
// that it comes through.
func parseJSON(text string) (gjson.Result, error) {
	text = validUTF8(text)
	if err := checkJSON(text); err != nil {
		return gjson.Result{}, err
	}
	return gjson.Parse(text), nil
}

// validUTF8 replaces each byte that is not part of a character.
func validUTF8(text string) string {
	if utf8.ValidString(text) {
		return text
	}
	return string([]rune(text))
}

// isPresent reports whether a member is there and not null, which says the same here.
func isPresent(v gjson.Result) bool { return v.Type != gjson.Null }

// stringsOf are the strings of an array, or nil if there are none. A number is taken as its text: rooms may be numbers in
// JavaScript.
func stringsOf(v gjson.Result, what string) ([]string, error) {
	if !isPresent(v) {
		return nil, nil
	}
	if !v.IsArray() {
		return nil, wireError(what + " are no array")
	}
	var out []string
	ok := true
	v.ForEach(func(_, v gjson.Result) bool {
		var s string
		s, ok = roomName(v)
		out = append(out, s)
		return ok
	})
	if !ok {
		return nil, wireError(what + " are not all strings")
	}
	return out, nil
}

// roomName is a room's name as a string. Like all that is kept of a message it does not hold on to the whole.
func roomName(v gjson.Result) (string, bool) {
	switch v.Type {
	case gjson.String:
		return strings.Clone(v.Str), true
	case gjson.Number:
		if _, err := strconv.ParseInt(v.Raw, 10, 64); err == nil && v.Raw != "-0" {
			return strings.Clone(v.Raw), true
		}
		return string(appendFloat(nil, v.Num+0)), true
	default:
		return "", false
	}
}

// stringOf is a string, or empty where there is none.
func stringOf(v gjson.Result, what string) (string, error) {
	if isPresent(v) && v.Type != gjson.String {
		return "", wireError(what + " is no string")
	}
	return strings.Clone(v.Str), nil
}

// insideOf is the inside of an array.
func insideOf(v gjson.Result) string {
	return strings.Trim(v.Raw[1:len(v.Raw)-1], " \t\r\n")
}

// appendString writes a JSON string as JSON.stringify does, with U+FFFD for what is not UTF-8.
func appendString[T string | []byte](dst []byte, s T) []byte {
	dst = append(dst, '"')
	done := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRuneInString(string(s[i:min(i+utf8.UTFMax, len(s))]))
			if r != utf8.RuneError || size > 1 {
				i += size
				continue
			}
		}
		dst = appendEscaped(append(dst, s[done:i]...), c)
		i++
		done = i
	}
	return append(append(dst, s[done:]...), '"')
}

func appendEscaped(dst []byte, c byte) []byte {
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\b':
		return append(dst, `\b`...)
	case '\f':
		return append(dst, `\f`...)
	case '\n':
		return append(dst, `\n`...)
	case '\r':
		return append(dst, `\r`...)
	case '\t':
		return append(dst, `\t`...)
	}
	if c >= utf8.RuneSelf {
		return append(dst, "\ufffd"...)
	}
	return fmt.Appendf(dst, `\u%04x`, c)
}

func appendStrings(dst []byte, list []string) []byte {
	dst = append(dst, '[')
	for i, s := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendString(dst, s)
	}
	return append(dst, ']')
}

// appendMember opens a member of an object; its value comes next. Names are ours, so they need no escapes.
func appendMember(dst []byte, name string) []byte {
	if dst[len(dst)-1] != '{' {
		dst = append(dst, ',')
	}
	dst = append(append(dst, '"'), name...)
	return append(dst, '"', ':')
}
