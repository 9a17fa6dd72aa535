package web

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Error is a refusal that the caller of the API shall read, as application/problem+json. What the API is built on returns
// it, maybe wrapped, for whatever the caller can do something about; every other error is answered with a bare 500 and
// goes to APIConfig.Failed. Its texts are sentences and hold no secrets.
type Error struct {
	Status     int           // an HTTP status of 400 or above
	Detail     string        // what is wrong and what would be right
	Fields     []FieldError  // the members of the body, query or path that are wrong, if it is about such
	RetryAfter time.Duration // when the same request may pass; zero: not known
}

// FieldError says what is wrong with one member of a request.
type FieldError struct {
	Field  string `json:"field"`  // its path, such as conditions[0].operator
	Detail string `json:"detail"` // goes on after the field's name: "must be a string."
}

func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d: %s", e.Status, e.Detail)
	for _, f := range e.Fields {
		fmt.Fprintf(&b, " %s %s", f.Field, f.Detail)
	}
	return b.String()
}

// NotFound says that what the address names does not exist: 404.
func NotFound(detail string) *Error { return &Error{Status: http.StatusNotFound, Detail: detail} }

// Conflict says that the request does not go with what is there, such as an id that is taken: 409.
func Conflict(detail string) *Error { return &Error{Status: http.StatusConflict, Detail: detail} }

// Invalid says that a member of a request is well-formed, but not acceptable: 422.
func Invalid(field, detail string) *Error {
	return fieldsError(http.StatusUnprocessableEntity, FieldError{field, detail})
}

// InvalidErrors is Invalid for all that a Validate of ours reports at once, a line for each problem, which begins with its
// place: "conditions[0].operator: want …". The texts are shown, so they may quote no secret.
func InvalidErrors(err error) *Error { return fieldErrors(http.StatusUnprocessableEntity, err) }

func fieldErrors(status int, err error) *Error {
	var fields []FieldError
	for line := range strings.Lines(err.Error()) {
		if len(fields) == maxFieldErrors {
			break
		}
		fields = append(fields, fieldOf(strings.TrimSpace(line)))
	}
	e := fieldsError(status, fields...)
	if len(fields) == 1 && fields[0].Field == whole {
		e.Detail = fields[0].Detail // it stands alone
	}
	return e
}

// whole is the field of what is wrong with a request as such.
const whole = "body"

// fieldOf takes the place off a problem, from the two ways we write them: "webhook.url: want …" and "webhook.url is …".
// What begins otherwise is about the whole.
func fieldOf(line string) FieldError {
	place, rest, _ := strings.Cut(line, " ")
	name, marked := strings.CutSuffix(place, ":")
	verb, _, _ := strings.Cut(rest, " ")
	plain := !strings.ContainsFunc(name, func(c rune) bool {
		return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune("._:-[]", c))
	})
	if name == "" || !plain || !marked && !slices.Contains([]string{"is", "are", "has", "leads", "must", "may"}, verb) {
		return FieldError{whole, line}
	}
	return FieldError{name, rest}
}

// Unavailable says that something needed cannot be reached at the moment: 503.
func Unavailable(detail string, retryAfter time.Duration) *Error {
	return &Error{Status: http.StatusServiceUnavailable, Detail: detail, RetryAfter: retryAfter}
}

// TooMany says that the caller has used up what it may do for now: 429.
func TooMany(retryAfter time.Duration) *Error {
	return &Error{Status: http.StatusTooManyRequests, Detail: "Too many requests. Try again later.", RetryAfter: retryAfter}
}

func malformed(detail string) *Error { return &Error{Status: http.StatusBadRequest, Detail: detail} }

func malformedField(field, detail string) *Error {
	return fieldsError(http.StatusBadRequest, FieldError{field, detail})
}

// fieldsError makes the detail of the fields, for those who read no further.
func fieldsError(status int, fields ...FieldError) *Error {
	if len(fields) == 1 {
		return &Error{Status: status, Detail: fields[0].Field + " " + fields[0].Detail, Fields: fields}
	}
	return &Error{Status: status, Detail: fmt.Sprintf("%d members of the request are wrong.", len(fields)), Fields: fields}
}

func (e *Error) problem() problem {
	return problem{Status: e.Status, Detail: e.Detail, Errors: e.Fields}.complete()
}
