package events

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// fits reports whether a JSON text certainly fits, which every valid event should. False means that only the library can
// tell: a name or a constrained string may have escapes, or of several members of one name an earlier one may be wrong.
// The text must be valid JSON, at most maxDepth levels deep, which Decode has made sure of.
func (sh *shape) fits(text string) bool {
	s := scanner{text: text}
	return s.value(sh)
}

// scanner walks over valid JSON, once.
type scanner struct {
	text string
	i    int
}

// value moves past one value. When it returns false, i is anywhere.
func (s *scanner) value(sh *shape) bool {
	if sh == nil {
		return s.skip()
	}
	s.space()
	switch s.text[s.i] {
	case '{':
		return sh.kinds&(1<<Object) != 0 && s.object(sh)
	case '[':
		return sh.kinds&(1<<Array) != 0 && s.array(sh)
	case '"':
		str, escaped := s.string()
		return sh.kinds&(1<<String) != 0 && sh.fitsString(str, escaped)
	case 't':
		s.i += len("true")
		return sh.kinds&(1<<Bool) != 0
	case 'f':
		s.i += len("false")
		return sh.kinds&(1<<Bool) != 0
	case 'n':
		s.i += len("null")
		return sh.kinds&(1<<Null) != 0
	}
	n, ok := s.number()
	return ok && sh.kinds&(1<<Number) != 0 && n >= sh.minimum && n <= sh.maximum && (!sh.whole || n == math.Trunc(n))
}

func (s *scanner) object(sh *shape) bool {
	var seen uint64
	s.i++
	for s.more('}') {
		name, escaped := s.string()
		if escaped {
			return false
		}
		s.space()
		s.i++ // the colon
		var below *shape
		known := false
		for i := range sh.members {
			if m := &sh.members[i]; m.name == name {
				seen |= 1 << i
				below, known = m.shape, true
				break
			}
		}
		if sh.closed && !known || !s.value(below) {
			return false
		}
	}
	return seen&sh.required == sh.required
}

func (s *scanner) array(sh *shape) bool {
	n := 0
	s.i++
	for ; s.more(']'); n++ {
		if !s.value(sh.items) {
			return false
		}
	}
	return n >= sh.minItems && n <= sh.maxItems
}

// more moves to the next element, or past the end.
func (s *scanner) more(end byte) bool {
	s.space()
	if s.text[s.i] == ',' {
		s.i++
		s.space()
	}
	if s.text[s.i] == end {
		s.i++
		return false
	}
	return true
}

func (s *scanner) space() {
	for {
		switch s.text[s.i] {
		case ' ', '\t', '\r', '\n':
			s.i++
		default:
			return
		}
	}
}

// string moves past a string and returns it as it is written, and whether it has escapes.
func (s *scanner) string() (str string, escaped bool) {
	s.i++
	start := s.i
	for {
		switch s.text[s.i] {
		case '"':
			s.i++
			return s.text[start : s.i-1], escaped
		case '\\':
			escaped = true
			s.i++
		}
		s.i++
	}
}

// maxPlainDigits is the most digits that a number within a float64 has for sure.
const maxPlainDigits = 300

// number moves past a number. It is not ok if it is beyond a float64, which the library refuses wherever it is.
func (s *scanner) number() (n float64, ok bool) {
	text, plain := s.digits()
	if len(text) <= 15 && plain {
		i, err := strconv.Atoi(text)
		return float64(i), err == nil
	}
	n, err := strconv.ParseFloat(text, 64)
	return n, err == nil
}

// digits moves past a number and returns its text, and whether it is nothing but digits and a sign.
func (s *scanner) digits() (text string, plain bool) {
	start := s.i
	plain = true
	for ; s.i < len(s.text); s.i++ {
		switch c := s.text[s.i]; {
		case c >= '0' && c <= '9' || c == '-':
		case c == '.' || c == 'e' || c == 'E' || c == '+':
			plain = false
		default:
			return s.text[start:s.i], plain
		}
	}
	return s.text[start:], plain
}

// skip moves past a value that may be anything but a number beyond a float64, or has such a one in it.
func (s *scanner) skip() bool {
	depth := 0
	for s.space(); ; {
		switch c := s.text[s.i]; {
		case c == '"':
			s.string()
		case c == '{' || c == '[':
			depth++
			s.i++
		case c == '}' || c == ']':
			depth--
			s.i++
		case c >= '0' && c <= '9' || c == '-':
			if text, plain := s.digits(); !plain || len(text) > maxPlainDigits {
				if _, err := strconv.ParseFloat(text, 64); err != nil {
					return false
				}
			}
		case c == 't' || c == 'n':
			s.i += len("true")
		case c == 'f':
			s.i += len("false")
		default: // between values
			s.i++
			continue
		}
		if depth == 0 {
			return true
		}
	}
}

func (sh *shape) fitsString(str string, escaped bool) bool {
	if escaped {
		// Unescaped it has at least one character, and at most as many as it has bytes now.
		return sh.minLength <= 1 && len(str) <= sh.maxLength && sh.among == nil && sh.formats == nil && sh.patterns == nil
	}
	if len(str) < sh.minLength || len(str) > sh.maxLength || sh.minLength > 1 {
		if n := utf8.RuneCountInString(str); n < sh.minLength || n > sh.maxLength {
			return false
		}
	}
	for _, values := range sh.among {
		if !slices.Contains(values, str) {
			return false
		}
	}
	for _, f := range sh.formats {
		if !(f.Name == "date-time" && isPlainTime(str)) && f.Validate(str) != nil {
			return false
		}
	}
	for _, p := range sh.patterns {
		if !p.MatchString(str) {
			return false
		}
	}
	return true
}

// isPlainTime knows the timestamps that nearly all events have: 2026-01-31T12:00:00Z with or without a fraction. The 29th
// of February and leap seconds it leaves to the library.
func isPlainTime(s string) bool {
	const layout = "0000-00-00T00:00:00"
	if len(s) <= len(layout) || s[len(s)-1] != 'Z' {
		return false
	}
	for i := range layout {
		if isDigit := s[i] >= '0' && s[i] <= '9'; isDigit != (layout[i] == '0') || !isDigit && s[i] != layout[i] {
			return false
		}
	}
	month, day, hour := int(s[5]-'0')*10+int(s[6]-'0'), s[8:10], s[11:13]
	if month < 1 || month > 12 || day < "01" || hour > "23" || s[14] > '5' || s[17] > '5' {
		return false
	}
	const days = "312831303130313130313031"
	fraction := s[len(layout) : len(s)-1]
	return day <= days[2*month-2:2*month] &&
		(fraction == "" || fraction[0] == '.' && len(fraction) > 1 && strings.Trim(fraction[1:], "0123456789") == "")
}
