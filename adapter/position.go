package adapter

import (
	"cmp"
	"errors"
	"strconv"
	"strings"
	"time"
)

// Position is a place in the log, with the order and the text form of a Redis stream id: milliseconds since the
// epoch, and a sequence number within one. Clients hold it as their recovery offset.
type Position struct{ MS, Seq uint64 }

var errPosition = errors.New("not a position; want milliseconds-sequence, like 1700000000000-0")

// ParsePosition is the inverse of String.
func ParsePosition(s string) (Position, error) {
	ms, seq, ok := strings.Cut(s, "-")
	if !ok || len(s) > 41 { // two 64-bit numbers and the dash
		return Position{}, errPosition
	}
	var p Position
	var err1, err2 error
	p.MS, err1 = strconv.ParseUint(ms, 10, 64)
	p.Seq, err2 = strconv.ParseUint(seq, 10, 64)
	if err1 != nil || err2 != nil {
		return Position{}, errPosition
	}
	return p, nil
}

func (p Position) String() string { return string(p.Append(nil)) }

// Append appends the text form to b.
func (p Position) Append(b []byte) []byte {
	b = append(strconv.AppendUint(b, p.MS, 10), '-')
	return strconv.AppendUint(b, p.Seq, 10)
}

// Compare orders positions as the log does.
func (p Position) Compare(q Position) int {
	return cmp.Or(cmp.Compare(p.MS, q.MS), cmp.Compare(p.Seq, q.Seq))
}

// Next is the position of something that happens at t, after p, whatever the clock did meanwhile.
func (p Position) Next(t time.Time) Position {
	if ms := uint64(max(t.UnixMilli(), 0)); ms > p.MS {
		return Position{MS: ms}
	}
	return Position{MS: p.MS, Seq: p.Seq + 1}
}
