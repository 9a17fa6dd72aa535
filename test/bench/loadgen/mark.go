//go:build linux

package main

import (
	"bytes"
	"fmt"
	"strconv"
	"time"
)

// mark travels within an event, so that its delivery can be told from all others.
type mark struct {
	seq   int64 // in its room, from 1
	room  int64
	event int64 // index of the event; -1 for one that is not measured
	at    int64 // when it was published, or should have been
}

var (
	// runID makes event ids new in every run, as servers may drop those they have seen.
	runID     = strconv.FormatInt(time.Now().UnixNano(), 36)
	markKey   = []byte(`"mark":"`)
	eventTail = `},"metadata":{"source":"bench","version":"1.0.0"},"timestamp":"` + time.Now().UTC().Format("2006-01-02T15:04:05.000Z") + `"}`
)

// appendEvent appends the event with mark m to b, padded so that b comes to size bytes if it is smaller.
func appendEvent(b []byte, m mark, size int) []byte {
	b = fmt.Appendf(b, `{"id":"evt-%[5]s-%[1]d","type":"photo.processing.stage.completed","data":{"photoId":"p%[2]d",`+
		`"jobId":"job-%[1]d","stage":"thumbnail","progress":42,"mark":"%[3]d.%[2]d.%[1]d.%[4]d."`, m.event, m.room, m.seq, m.at, runID)
	const before, after = `,"pad":"`, `"`
	if pad := size - len(b) - len(before) - len(after) - len(eventTail); pad > 0 {
		b = append(b, before...)
		b = append(b, bytes.Repeat([]byte("x"), pad)...)
		b = append(b, after...)
	}
	return append(b, eventTail...)
}

// parseMark finds the mark in an event as it is delivered. It reads only as far as the mark: whole events times
// thousands of connections would cost more than the server under test.
func parseMark(message []byte) (m mark, ok bool) {
	i := bytes.Index(message, markKey)
	if i < 0 {
		return mark{}, false
	}
	rest := message[i+len(markKey):]
	for _, field := range []*int64{&m.seq, &m.room, &m.event, &m.at} {
		if rest, ok = parseNumber(rest, field); !ok {
			return mark{}, false
		}
	}
	return m, true
}

// parseNumber reads digits and the dot after them, and returns what follows.
func parseNumber(p []byte, n *int64) ([]byte, bool) {
	for i, d := range p[:min(len(p), 20)] {
		switch {
		case d == '.':
			return p[i+1:], i > 0
		case d < '0' || d > '9':
			return nil, false
		}
		*n = *n*10 + int64(d-'0')
	}
	return nil, false
}
