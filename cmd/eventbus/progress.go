package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// progress shows on a terminal how far a long input has come. A nil one shows nothing.
type progress struct {
	bar   *progressbar.ProgressBar
	start time.Time
	lines int
}

// newProgress returns nil unless out is a terminal and in something that is not typed. The size of a file is known, of
// all else it is -1: then a spinner counts.
func newProgress(out io.Writer, in io.Reader) *progress {
	size := int64(-1)
	if f, ok := in.(*os.File); ok {
		if isTerminal(in) {
			return nil
		}
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			size = info.Size()
		}
	}
	if !isTerminal(out) || size == 0 {
		return nil
	}
	return &progress{start: time.Now(), bar: progressbar.NewOptions64(size,
		progressbar.OptionSetWriter(out),
		progressbar.OptionShowBytes(true),
		progressbar.OptionSetWidth(20),
		progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionSetSpinnerChangeInterval(0), // turns as lines come, without a goroutine
		progressbar.OptionClearOnFinish(),
	)}
}

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// add counts what has been dealt with.
func (p *progress) add(lines int, bytes int64) {
	if p == nil {
		return
	}
	p.lines += lines
	rate := float64(p.lines) / max(time.Since(p.start).Seconds(), 0.001)
	p.bar.Describe(fmt.Sprintf("%d lines, %.0f/s", p.lines, rate))
	_ = p.bar.Add64(bytes) // an error says that the file has grown meanwhile
}

// clear makes room for a line of text.
func (p *progress) clear() {
	if p != nil {
		_ = p.bar.Clear() // it can only fail as the text itself will
	}
}
