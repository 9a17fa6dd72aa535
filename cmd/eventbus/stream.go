package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/redis/go-redis/v9"

	"github.com/photo-management/event-bus/events"
	"github.com/photo-management/event-bus/publisher"
)

// stream publishes line by line.
type stream struct {
	pub      *publisher.Publisher
	source   string
	news     io.Writer
	progress *progress

	last, published, failed int
}

// run ends with the input, with ctx, or when Redis is gone. One line, at the end, says how many events it was.
func (s *stream) run(ctx context.Context, in io.Reader) error {
	reading, stop := context.WithCancel(ctx)
	defer stop()
	chunks := make(chan chunk)
	// Not waited for: nothing interrupts a read of standard input, so after Ctrl-C this may end with the process alone.
	go readChunks(reading, in, events.DefaultMaxBytes, chunks)
	var err error
	for err == nil {
		select {
		case c := <-chunks:
			if err = s.publish(ctx, c.lines); err == nil {
				err = c.err
			}
		case <-ctx.Done():
			err = fmt.Errorf("interrupted after line %d", s.last)
		}
	}
	s.progress.clear()
	summary := fmt.Sprintf("published %d, failed %d", s.published, s.failed)
	switch {
	case err != io.EOF:
		return fmt.Errorf("%s: %w", summary, err)
	case s.failed > 0:
		return errors.New(summary)
	}
	fmt.Fprintln(s.news, summary)
	return nil
}

// publish publishes lines, and says which are not good for it. An error means that there is no use in going on.
func (s *stream) publish(ctx context.Context, lines []line) error {
	errs := make([]error, len(lines))
	var evs []events.Event
	var of []int // the line of each event
	var size int64
	for i, l := range lines {
		size += l.size
		if !l.long && len(bytes.TrimSpace(l.text)) == 0 {
			continue
		}
		ev, err := decodeLine(l, s.source)
		if errs[i] = err; err == nil {
			evs, of = append(evs, ev), append(of, i)
		}
	}
	var gone error
	// What is on its way is waited for, so that the count is right after Ctrl-C too. The publisher has its own deadline.
	for i, err := range s.pub.PublishBatch(context.WithoutCancel(ctx), evs) {
		switch {
		case err == nil:
			s.published++
		case !unreachable(err):
			errs[of[i]] = err
		default:
			s.failed++
			if gone == nil {
				gone = fmt.Errorf("line %d and those after it: %w", lines[of[i]].number, err)
			}
		}
	}
	for i, err := range errs {
		s.last = lines[i].number
		if err != nil {
			s.failed++
			s.progress.clear()
			fmt.Fprintf(s.news, "line %d: %s\n", s.last, plain(err.Error()))
		}
	}
	s.progress.add(len(lines), size)
	return gone
}

// unreachable reports whether err is neither the event's fault nor Redis's answer to it. An answer that the publisher
// waited for to change, until its time was up, is no more than none.
func unreachable(err error) bool {
	var answer redis.Error
	return errors.Is(err, context.DeadlineExceeded) ||
		!errors.Is(err, events.ErrInvalid) && !errors.Is(err, events.ErrTooLarge) && !errors.As(err, &answer)
}
