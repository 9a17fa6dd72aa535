package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func readAll(t *testing.T, r io.Reader, limit int) (lines []line, end error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	chunks := make(chan chunk)
	go readChunks(ctx, r, limit, chunks)
	for end == nil {
		c := <-chunks
		size := int64(0)
		for i, l := range c.lines {
			if size >= chunkBytes {
				t.Errorf("a chunk has %d lines after %d bytes", len(c.lines)-i, size)
			}
			size += l.size
		}
		if len(c.lines) > chunkLines {
			t.Errorf("a chunk has %d lines, want at most %d", len(c.lines), chunkLines)
		}
		lines, end = append(lines, c.lines...), c.err
	}
	return lines, end
}

func TestReadChunks(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	const limit = 10
	for _, tt := range []struct {
		name string
		in   io.Reader
		want string // the lines, with a slash after each; ! is too long
		end  error
	}{
		{"nothing", strings.NewReader(""), "", io.EOF},
		{"ends", strings.NewReader("a\nb\r\n\nc"), "a/b//c/", io.EOF},
		{"a carriage return is no end", strings.NewReader("a\rb\n"), "a\rb/", io.EOF},
		{"limit", strings.NewReader("0123456789\n0123456789\r\n01234567890\n0123456789"), "0123456789/0123456789/!/0123456789/", io.EOF},
		{"far over the limit", strings.NewReader(strings.Repeat("x", 1<<20) + "\na\n" + strings.Repeat("x", 1<<18)), "!/a/!/", io.EOF},
		{"byte by byte", iotest.OneByteReader(strings.NewReader("a\nb\nc")), "a/b/c/", io.EOF},
		{"error", io.MultiReader(strings.NewReader("a\nb\n"), iotest.ErrReader(broken)), "a/b/", broken},
		{"error within a line", io.MultiReader(strings.NewReader("a\nb"), iotest.ErrReader(broken)), "a/", broken},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			lines, end := readAll(t, tt.in, limit)
			var got strings.Builder
			for i, l := range lines {
				if l.number != i+1 {
					t.Errorf("line %d has number %d", i+1, l.number)
				}
				if l.long {
					got.WriteString("!")
				}
				got.Write(append(l.text, '/'))
			}
			if got.String() != tt.want || !errors.Is(end, tt.end) {
				t.Errorf("got %q, %v, want %q, %v", &got, end, tt.want, tt.end)
			}
		})
	}
}

func TestReadChunksBounds(t *testing.T) {
	t.Parallel()
	for _, one := range []string{"\n", strings.Repeat("x", 300<<10) + "\n"} {
		const n = 2000
		in := bytes.Repeat([]byte(one), n/len(one)+10)
		lines, _ := readAll(t, bytes.NewReader(in), 1<<20)
		var size int64
		for _, l := range lines {
			size += l.size
		}
		if size != int64(len(in)) {
			t.Errorf("lines of %d bytes: got %d bytes in all, want %d", len(one), size, len(in))
		}
	}
}

func TestPlain(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"Größe\nis 5":             "Größe is 5",
		"\x1b[2Jgone\u009b31m":    "\uFFFD[2Jgone\uFFFD31m",
		"half \xc3":               "half ",
		strings.Repeat("é", 2000): strings.Repeat("é", 500) + "…",
	} {
		if got := plain(in); got != want {
			t.Errorf("%.20q: got %q, want %q", in, got, want)
		}
	}
}
