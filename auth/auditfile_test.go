package auth

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func readLines(t *testing.T, path string) []string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
}

func record(i int) []byte { return fmt.Appendf(nil, `{"n":%06d}`+"\n", i) } // 13 bytes

func TestRotated(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit.log")
	r, err := openRotated(path, 130, 3)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		if n, err := r.write(t.Context(), [][]byte{record(i)}); n != 1 || err != nil {
			t.Fatalf("%d: got %d, %v", i, n, err)
		}
	}
	if err := r.close(); err != nil {
		t.Fatal(err)
	}
	for i, name := range []string{path, path + ".1", path + ".2", path + ".3"} {
		lines := readLines(t, name)
		for j, line := range lines {
			if want := strings.TrimSuffix(string(record(90-10*i+j)), "\n"); line != want || len(lines) != 10 {
				t.Fatalf("%s has %d lines, of which %d is %s, want %s", name, len(lines), j, line, want)
			}
		}
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: got mode %v, %v, want 0600", name, info.Mode(), err)
		}
	}
	if _, err := os.Stat(path + ".4"); err == nil {
		t.Error("a file too many is kept")
	}
	// A batch larger than a file is written whole, to a file of its own.
	r, err = openRotated(path, 30, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	if n, err := r.write(t.Context(), [][]byte{record(1), record(2), record(3)}); n != 3 || err != nil || len(readLines(t, path)) != 3 {
		t.Errorf("large batch: got %d, %v, %v", n, err, readLines(t, path))
	}
}

func TestRotatedWithoutLimit(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit.log")
	r, err := openRotated(path, 0, 3)
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	for i := range 1000 {
		if _, err := r.write(t.Context(), [][]byte{record(i)}); err != nil {
			t.Fatal(err)
		}
	}
	if got := len(readLines(t, path)); got != 1000 {
		t.Errorf("got %d lines, want 1000", got)
	}
}

// TestRotatedMoved: whoever moves the file away, or removes it, is noticed with the next record.
func TestRotatedMoved(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit.log")
	r, err := openRotated(path, 1<<20, 3)
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	write := func(i int) {
		t.Helper()
		if _, err := r.write(t.Context(), [][]byte{record(i)}); err != nil {
			t.Fatal(err)
		}
	}
	write(1)
	if err := os.Rename(path, path+".old"); err != nil {
		t.Fatal(err)
	}
	write(2)
	if a, b := readLines(t, path+".old"), readLines(t, path); len(a) != 1 || len(b) != 1 || b[0] != `{"n":000002}` {
		t.Errorf("got %v and %v", a, b)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	write(3)
	r.reopen()
	r.reopen()
	write(4)
	if got := readLines(t, path); len(got) != 2 {
		t.Errorf("got %v, want two records", got)
	}
}

// TestRotatedTorn: a line that a crash has cut off does not spoil the next.
func TestRotatedTorn(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit.log")
	if err := os.WriteFile(path, []byte(`{"n":000001}`+"\n"+`{"n":0000`), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := openRotated(path, 1<<20, 3)
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	for i := 2; i < 4; i++ {
		if n, err := r.write(t.Context(), [][]byte{record(i)}); n != 1 || err != nil {
			t.Fatal(n, err)
		}
	}
	if got := strings.Join(readLines(t, path), " "); got != `{"n":000001} {"n":0000 {"n":000002} {"n":000003}` {
		t.Errorf("got %s", got)
	}
}

// TestAuditToFile runs the whole of it, with somebody moving the file.
func TestAuditToFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit.log")
	a := newTestAudit(t, AuditConfig{Sink: AuditFile, File: path}, nil, nil)
	stop := runAudit(t, a)
	var all sync.WaitGroup
	for g := range 4 {
		all.Go(func() {
			for i := range 200 {
				a.Log(Record{Event: RateLimitExceeded, UserID: fmt.Sprint(g), EventID: fmt.Sprint(i)})
			}
		})
	}
	eventually(t, "first records", func() error {
		if info, err := os.Stat(path); err != nil || info.Size() == 0 {
			return fmt.Errorf("nothing there: %v", err)
		}
		return nil
	})
	if err := os.Rename(path, path+".moved"); err != nil {
		t.Fatal(err)
	}
	a.Reopen()
	all.Wait()
	a.Log(Record{Event: AdminAction})
	stop()
	lines := append(readLines(t, path+".moved"), readLines(t, path)...)
	if len(lines) != 801 {
		t.Fatalf("got %d lines, want 801", len(lines))
	}
	last := map[any]int{}
	for _, line := range lines {
		r := decodeRecord(t, []byte(line+"\n"))
		if r["event"] != "rate_limit_exceeded" {
			continue
		}
		var n int
		fmt.Sscan(r["eventId"].(string), &n)
		if n != last[r["userId"]] {
			t.Fatalf("out of order or lost: %s", line)
		}
		last[r["userId"]] = n + 1
	}
}
