package auth

import (
	"bytes"
	"context"
	"io"
)

// stream takes records for a Redis stream.
type stream interface {
	// Append adds all records, JSON without a newline, or none of them if there is an error. It is asked again after
	// one: a record whose answer got lost may be there twice.
	Append(ctx context.Context, records [][]byte) error
}

type streamSink struct{ stream stream }

func (s streamSink) write(ctx context.Context, records [][]byte) (int, error) {
	trimmed := make([][]byte, len(records))
	for i, r := range records {
		trimmed[i] = bytes.TrimSuffix(r, []byte("\n"))
	}
	if err := s.stream.Append(ctx, trimmed); err != nil {
		return 0, err
	}
	return len(records), nil
}

func (streamSink) reopen()      {}
func (streamSink) close() error { return nil }

// writerSink writes lines.
type writerSink struct {
	w    io.Writer
	torn bool // the last line is not whole
}

// write ends a line that was torn by an error, before it comes again.
func (s *writerSink) write(_ context.Context, records [][]byte) (written int, err error) {
	text := bytes.Join(records, nil)
	if s.torn {
		text = append([]byte("\n"), text...)
	}
	n, err := s.w.Write(text)
	if err == nil {
		s.torn = false
		return len(records), nil
	}
	done := text[:n]
	written = bytes.Count(done, []byte("\n"))
	if s.torn && written > 0 {
		written--
	}
	if n > 0 {
		s.torn = done[n-1] != '\n'
	}
	return written, err
}

func (*writerSink) reopen()      {}
func (*writerSink) close() error { return nil }
