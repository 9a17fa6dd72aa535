package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"unicode"
)

// line is a line of input.
type line struct {
	number int    // from 1
	text   []byte // without the line's end; nil if it is too long
	long   bool   // too long to be kept
	size   int64  // in bytes, the line's end included
}

// chunk is some lines that were there without waiting for more. err is io.EOF with the last one, or what ended it.
type chunk struct {
	lines []line
	err   error
}

// chunkLines and chunkBytes bound a chunk; the last line of it may go over the bytes.
const (
	chunkLines = 500
	chunkBytes = 1 << 20
)

// readChunks sends the lines of r, in chunks, until it ends or ctx does. A line of more than limit bytes is not kept.
func readChunks(ctx context.Context, r io.Reader, limit int, out chan<- chunk) {
	in := lineReader{in: bufio.NewReaderSize(r, 64<<10), limit: limit}
	for end := false; !end; {
		var c chunk
		for size := int64(0); len(c.lines) < chunkLines && size < chunkBytes; {
			next, err := in.next()
			if err != nil {
				c.err, end = err, true
				break
			}
			c.lines = append(c.lines, next)
			size += next.size
			if !in.ready() {
				break // who writes it may wait for what comes of it
			}
		}
		select {
		case out <- c:
		case <-ctx.Done():
			return
		}
	}
}

type lineReader struct {
	in    *bufio.Reader
	limit int
	count int
}

// next reads a line. What is over the limit is read, and dropped.
func (r *lineReader) next() (line, error) {
	r.count++
	l := line{number: r.count}
	for {
		part, err := r.in.ReadSlice('\n')
		l.size += int64(len(part))
		if l.long = l.long || len(l.text)+len(part) > r.limit+len("\r\n"); !l.long {
			l.text = append(l.text, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err == io.EOF && l.size > 0: // the last line, without its end
		case err != nil:
			return line{}, err
		}
		l.text = bytes.TrimRight(l.text, "\r\n")
		if l.long = l.long || len(l.text) > r.limit; l.long {
			l.text = nil
		}
		return l, nil
	}
}

// ready reports whether the next line can be had without waiting.
func (r *lineReader) ready() bool {
	buffered, _ := r.in.Peek(r.in.Buffered()) // no more than there is
	return bytes.IndexByte(buffered, '\n') >= 0
}

// plain makes a text that others wrote fit for one line of a terminal, without its control sequences.
func plain(text string) string {
	const limit = 1000
	short := strings.ToValidUTF8(text[:min(len(text), limit)], "")
	short = strings.Map(func(r rune) rune {
		switch {
		case r == '\n':
			return ' '
		case unicode.IsPrint(r):
			return r
		}
		return unicode.ReplacementChar
	}, short)
	if len(text) > limit {
		short += "…"
	}
	return short
}
