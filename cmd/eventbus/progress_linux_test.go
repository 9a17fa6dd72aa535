package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// terminal is a pseudo-terminal: what is written to it is in shown.
type terminal struct {
	*os.File
	shown output
	end   func()
}

func newTerminal(t *testing.T) *terminal {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	fd := int(master.Fd())
	number, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	term := &terminal{}
	if term.File, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	var reader sync.WaitGroup
	reader.Go(func() { _, _ = io.Copy(&term.shown, master) }) // ends with an error, once nobody has the terminal open
	term.end = func() {
		term.Close()
		reader.Wait()
		master.Close()
	}
	t.Cleanup(term.end)
	return term
}

func TestPublishProgress(t *testing.T) {
	t.Parallel()
	r := embeddedRedis(t)
	const event = `{"type":"photo.deleted","data":{"photoId":"p"}}` + "\n"
	const n = 2*chunkLines + 1
	path := filepath.Join(t.TempDir(), "events.jsonl")
	if err := os.WriteFile(path, []byte(strings.Repeat(event, n-1)+"bad\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	pipe, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	go func() {
		defer w.Close()
		_, _ = io.WriteString(w, strings.Repeat(event, n-1)+"bad\n") // if it fails, the count below is wrong
	}()
	for _, tt := range []struct {
		name, file string
		in         io.Reader
		want       string
	}{
		{"file", path, nil, "% |"},
		{"pipe", "-", pipe, " lines, "},
		{"text", "-", strings.NewReader(strings.Repeat(event, n-1) + "bad\n"), " lines, "},
	} {
		term := newTerminal(t)
		var out output
		code := run(context.Background(), []string{"publish", "--redis-url", r.url, "--file", tt.file}, stdio{tt.in, &out, term.File})
		term.end()
		shown := term.shown.String()
		if code != 1 || out.String() != "" || !strings.Contains(shown, tt.want) || !strings.Contains(shown, "/s") {
			t.Errorf("%s: got %d, %q, want a progress bar with %q", tt.name, code, shown, tt.want)
		}
		// Nothing of the bar is before or after what is said, once a terminal has done as it was told.
		for _, want := range []string{"\rline 1001: not JSON", "\reventbus publish: published 1000, failed 1\r\n"} {
			if !strings.Contains(shown, want) {
				t.Errorf("%s: got %q, want %q", tt.name, shown, want)
			}
		}
	}
}

func TestProgressOnlyWhereItHelps(t *testing.T) {
	t.Parallel()
	term := newTerminal(t)
	empty, err := os.Create(filepath.Join(t.TempDir(), "empty"))
	if err != nil {
		t.Fatal(err)
	}
	defer empty.Close()
	for name, p := range map[string]*progress{
		"typed input":      newProgress(term.File, term.File),
		"no terminal":      newProgress(&output{}, strings.NewReader("")),
		"output to a file": newProgress(empty, strings.NewReader("")),
		"an empty file":    newProgress(term.File, empty),
	} {
		if p != nil {
			t.Errorf("%s: there is a progress bar", name)
		}
	}
	if newProgress(term.File, strings.NewReader("")) == nil {
		t.Error("no progress bar on a terminal")
	}
}
